//! The protocol: short windows in turn, and each compared with the two beside it.
//!
//! A machine's speed drifts by more than what is to be told apart, so that windows far apart in
//! time say nothing about each other. In every round the baseline runs before and after every
//! contender; the figure is the median of the ratios to those two neighbours. Where even half a second
//! is too long, contender and baseline have their windows at once, in slices that alternate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::agent::{Window, busy_seconds};
use super::column::Column;
use super::statistics::ratio;

/// The window after a start that nobody looks at.
const WARM_UP: Duration = Duration::from_millis(200);

/// A way from a client to the services in the container.
pub(crate) trait Way {
    /// What it is called in the results.
    fn name(&self) -> &str;

    /// Whether it can carry that column's load at all.
    fn supports(&self, column: Column) -> bool;

    /// How many windows it has in a round: more where what is asked of it is less than a window's
    /// noise.
    fn windows(&self, _column: Column) -> u32 {
        1
    }

    /// Runs one window of `column` over it.
    fn window(&self, column: Column, lasting: Duration) -> Result<Window>;

    /// Runs one window of it and one of `baseline` in slices that alternate; `None` where windows of
    /// their own are compared.
    fn beside(
        &self,
        _baseline: &Self,
        _column: Column,
        _lasting: Duration,
    ) -> Option<Result<[Window; 2]>> {
        None
    }
}

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) columns: Vec<Column>,
    pub(crate) rounds: u32,
    pub(crate) window: Duration,
}

/// One window of a contender, and what it was of its neighbours.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) window: Window,
    /// Its rate divided by the baseline's; nothing for the baseline itself.
    pub(crate) ratio: Option<f64>,
    /// The same of the processor time per byte.
    pub(crate) cpu_ratio: Option<f64>,
}

/// All samples by column and contender.
pub(crate) type Samples = BTreeMap<(Column, String), Vec<Sample>>;

/// A flag that an interrupt sets: between windows is time enough to end everything in order.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
}

/// How long the machine is watched before anything is measured.
const WATCH: Duration = Duration::from_secs(1);
/// Processors that other work may take before it is worth a warning.
const QUIET: f64 = 0.1;

/// How many processors are busy with something else, as a fraction; warns when it is too much.
pub(crate) fn other_work() -> Result<f64> {
    let before = busy_seconds()?;
    std::thread::sleep(WATCH);
    let busy = (busy_seconds()? - before) / WATCH.as_secs_f64();
    if busy > QUIET {
        eprintln!(
            "other work takes {busy:.1} processors: ratios will scatter, and processor time per \
             GB contains it"
        );
    }
    Ok(busy)
}

/// Runs all rounds of the others against the first of `ways`.
pub(crate) fn run(plan: &Plan, ways: &[impl Way], interrupt: &Interrupt) -> Result<Samples> {
    let mut samples = Samples::new();
    let once = Plan { rounds: 1, window: WARM_UP, ..plan.clone() };
    let mut discarded = Samples::new();
    round(&once, ways, interrupt, &mut discarded)?;
    for number in 1..=plan.rounds {
        eprintln!("round {number} of {}", plan.rounds);
        round(plan, ways, interrupt, &mut samples)?;
    }
    Ok(samples)
}

fn round<W: Way>(
    plan: &Plan,
    ways: &[W],
    interrupt: &Interrupt,
    samples: &mut Samples,
) -> Result<()> {
    let (baseline, others) = ways.split_first().context("nobody to measure")?;
    for column in &plan.columns {
        let mut turn = Turn { plan, column: *column, baseline, interrupt, before: None };
        let others = others.iter().filter(|way| way.supports(*column));
        let windows = others.flat_map(|way| (0..way.windows(*column)).map(move |_| way));
        for other in windows {
            for (way, sample) in turn.of(other)? {
                samples.entry((*column, way.name().to_owned())).or_default().push(sample);
            }
        }
        let last = turn.before.map(Sample::alone);
        samples.entry((*column, baseline.name().to_owned())).or_default().extend(last);
    }
    Ok(())
}

/// The contenders' windows in one column, each with those of the baseline that belong to it.
struct Turn<'a, W> {
    plan: &'a Plan,
    column: Column,
    baseline: &'a W,
    interrupt: &'a Interrupt,
    /// The baseline's newest window, which nobody has been compared with as the one before.
    before: Option<Window>,
}

// === impl Turn ===

impl<'a, W: Way> Turn<'a, W> {
    /// One window of `way`. One that fails is told and has no sample; the baseline's must not fail.
    fn of(&mut self, way: &'a W) -> Result<Vec<(&'a W, Sample)>> {
        self.interrupt.check()?;
        let Some(both) = way.beside(self.baseline, self.column, self.plan.window) else {
            return self.between(way);
        };
        let both = both.with_context(|| format!("measure {}", way.name()));
        Ok(told(both).map_or_else(Vec::new, |[own, baseline]| {
            let sample = Sample::between(own, &baseline, &baseline);
            vec![(way, sample), (self.baseline, Sample::alone(baseline))]
        }))
    }

    fn between(&mut self, way: &'a W) -> Result<Vec<(&'a W, Sample)>> {
        let before = match self.before.take() {
            Some(window) => window,
            None => self.measured(self.baseline)?,
        };
        let own = self.measured(way).with_context(|| format!("measure {}", way.name()));
        let after = self.measured(self.baseline)?;
        let own = told(own).map(|own| (way, Sample::between(own, &before, &after)));
        self.before = Some(after);
        Ok([(self.baseline, Sample::alone(before))].into_iter().chain(own).collect())
    }

    fn measured(&self, way: &W) -> Result<Window> {
        self.interrupt.check()?;
        way.window(self.column, self.plan.window)
    }
}

fn told<T>(outcome: Result<T>) -> Option<T> {
    outcome.inspect_err(|error| eprintln!("  no sample: {error:#}")).ok()
}

// === impl Sample ===

impl Sample {
    fn alone(window: Window) -> Self {
        Self { window, ratio: None, cpu_ratio: None }
    }

    fn between(window: Window, before: &Window, after: &Window) -> Self {
        let cost = Window::cpu_per_gigabyte;
        let costs = cost(&window).zip(cost(before)).zip(cost(after));
        let cpu_ratio = costs.and_then(|((own, before), after)| ratio(own, before, after));
        let ratio = ratio(window.rate, before.rate, after.rate);
        Self { window, ratio, cpu_ratio }
    }
}

// === impl Interrupt ===

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on.
    pub(crate) fn listen() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).context("handle a signal")?;
        }
        Ok(Self { flag })
    }

    /// # Errors
    /// When one has come.
    pub(crate) fn check(&self) -> Result<()> {
        if self.flag.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(rate: f64, cpu_seconds: f64) -> Window {
        Window { rate, cpu_seconds, bytes: 1_000_000_000, ..Window::default() }
    }

    /// A way whose windows are all the same.
    struct Steady {
        name: &'static str,
        rate: f64,
        at_once: bool,
    }

    impl Way for Steady {
        fn name(&self) -> &str {
            self.name
        }

        fn supports(&self, _column: Column) -> bool {
            true
        }

        fn window(&self, _column: Column, _lasting: Duration) -> Result<Window> {
            Ok(window(self.rate, 1.0))
        }

        fn beside(
            &self,
            baseline: &Self,
            _column: Column,
            _lasting: Duration,
        ) -> Option<Result<[Window; 2]>> {
            let both = [self.rate, baseline.rate].map(|rate| window(rate, 1.0));
            self.at_once.then_some(Ok(both))
        }
    }

    #[test]
    fn each_contender_is_compared_in_its_way() {
        let way = |name, rate, at_once| Steady { name, rate, at_once };
        let ways = [way("direct", 4.0, false), way("a", 2.0, true), way("b", 1.0, false)];
        let plan = Plan { columns: vec![Column::Rr1], rounds: 1, window: WARM_UP };
        let mut samples = Samples::new();
        round(&plan, &ways, &Interrupt { flag: Arc::default() }, &mut samples).unwrap();
        let ratios = |name: &str| {
            let samples = samples.get(&(Column::Rr1, name.to_owned())).unwrap();
            samples.iter().map(|sample| sample.ratio).collect::<Vec<_>>()
        };
        assert_eq!((ratios("a"), ratios("b")), (vec![Some(0.5)], vec![Some(0.25)]));
        // One beside a, and one before and one after b.
        assert_eq!(ratios("direct"), [None; 3]);
    }

    #[test]
    fn a_sample_is_compared_with_both_neighbours() {
        let sample = Sample::between(window(3.0, 6.0), &window(4.0, 1.0), &window(8.0, 3.0));
        assert_eq!((sample.ratio, sample.cpu_ratio), (Some(0.5), Some(3.0)));
        assert_eq!(Sample::alone(window(1.0, 1.0)).ratio, None);
    }
}
