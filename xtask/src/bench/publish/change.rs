//! One port more and one less, beside few others and beside many, with flows that must not notice.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::bench::agent::Paced;
use crate::bench::column::Service;
use crate::bench::rounds::Interrupt;
use crate::bench::site::{Flow, Site, TARGET};
use crate::bench::times::Times;

/// How many ports are published besides the one that comes and goes.
pub(crate) const SIZES: [usize; 2] = [10, 10_000];

/// Others are every second port from here on, so that none is beside another, and below those that
/// outgoing connections use.
const FIRST_OTHER: u16 = 10_001;
/// The ports that come and go, in turn: a port that was just used has connections in TIME_WAIT.
const CHANGED: std::ops::Range<u16> = 5000..5200;
/// The flows' ports: one for each plane.
const FLOWS: [(&str, u16, &str); 2] = [("nft", 6001, ""), ("relay", 6002, ",via=relay")];
/// Of a flow's exchanges. A stall shows as well as at a faster pace, which would take a processor.
const PACE: Duration = Duration::from_millis(2);
/// Calls of each kind in a round.
const CALLS: u32 = 50;
/// Calls of each kind before the first round, which nobody looks at.
const WARM_UP: u32 = 5;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One request over the daemon's socket, its connection included.
    Api,
    /// One process, from its start to its end.
    Cli,
}

/// How long calls took, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Calls {
    pub(crate) publish: Times,
    pub(crate) unpublish: Times,
}

/// What one flow has seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Of exchanges, in milliseconds.
    pub(crate) times: Times,
    /// The longest time between two answers, in milliseconds.
    pub(crate) gap: f64,
}

/// A flow through one plane.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Beside {
    pub(crate) plane: &'static str,
    /// While ports came and went.
    pub(crate) changing: Seen,
    /// As long, while nothing happened.
    pub(crate) quiet: Seen,
}

/// Everything measured beside so many other ports.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Change {
    /// How many others there were.
    pub(crate) others: usize,
    pub(crate) api: Calls,
    pub(crate) cli: Calls,
    pub(crate) flows: Vec<Beside>,
}

struct Measured {
    site: Site,
    change: Change,
    next: u16,
}

/// Changes a port at every size in turn, `rounds` times.
pub(crate) fn measure(program: &Path, rounds: u32, interrupt: &Interrupt) -> Result<Vec<Change>> {
    eprintln!("one port, beside {SIZES:?} others");
    let sites: Result<Vec<Measured>> =
        SIZES.into_iter().map(|others| Measured::prepare(program, others)).collect();
    let mut sites = sites?;
    for site in &mut sites {
        site.turn(WARM_UP)?;
        site.change = Change { others: site.change.others, flows: besides(), ..Change::default() };
    }
    for number in 1..=rounds {
        eprintln!("  round {number} of {rounds}");
        for site in &mut sites {
            interrupt.check()?;
            site.turn(CALLS)?;
        }
    }
    Ok(sites.into_iter().map(|site| site.change).collect())
}

fn besides() -> Vec<Beside> {
    FLOWS.iter().map(|(plane, ..)| Beside { plane, ..Beside::default() }).collect()
}

// === impl Measured ===

impl Measured {
    fn prepare(program: &Path, others: usize) -> Result<Self> {
        let site = Site::start(&format!("change {others}"), program)?;
        let short = Service::Short.port();
        let ports = (FIRST_OTHER..).step_by(2).take(others);
        let specs: Vec<String> = ports.map(|port| format!("{port}:{short}")).collect();
        site.publish_all(&specs)?;
        let stream = Service::Stream.port();
        let flows = FLOWS.map(|(_, port, options)| format!("{port}:{stream}{options}"));
        site.publish_all(&flows)?;
        let change = Change { others, flows: besides(), ..Change::default() };
        Ok(Self { site, change, next: CHANGED.start })
    }

    /// Calls in both ways with flows beside them, then as long with the flows alone.
    fn turn(&mut self, calls: u32) -> Result<()> {
        let flows = self.flows()?;
        let begun = Instant::now();
        for way in [Way::Api, Way::Cli] {
            for _ in 0..calls {
                self.there_and_back(way)?;
            }
        }
        let took = begun.elapsed();
        for (beside, flow) in self.change.flows.iter_mut().zip(flows) {
            beside.changing.add(&flow.end()?);
        }
        let flows = self.flows()?;
        std::thread::sleep(took);
        for (beside, flow) in self.change.flows.iter_mut().zip(flows) {
            beside.quiet.add(&flow.end()?);
        }
        Ok(())
    }

    fn flows(&self) -> Result<Vec<Flow>> {
        FLOWS.iter().map(|(_, port, _)| self.site.flow(*port, PACE)).collect()
    }

    /// Publishes a port, looks whether it answers, takes it down, and looks again.
    fn there_and_back(&mut self, way: Way) -> Result<()> {
        let port = self.next;
        self.next = if port + 1 < CHANGED.end { port + 1 } else { CHANGED.start };
        let spec = format!("{port}:{}", Service::Short.port());
        let publish = self.call(way, "publish", &spec)?;
        ensure!(self.site.is_reached(port)?, "port {port} is published and does not answer");
        let unpublish = self.call(way, "unpublish", &spec)?;
        ensure!(!self.site.is_reached(port)?, "port {port} is taken down and answers");
        let calls = match way {
            Way::Api => &mut self.change.api,
            Way::Cli => &mut self.change.cli,
        };
        calls.publish.extend(&[publish]);
        calls.unpublish.extend(&[unpublish]);
        Ok(())
    }

    /// How long one call took, in milliseconds.
    fn call(&self, way: Way, verb: &str, spec: &str) -> Result<f64> {
        let took = match way {
            Way::Api => self.site.ask(verb, &json!({ "target": TARGET, "specs": [spec] }))?,
            Way::Cli => {
                let output = self.site.scene.wharf.run([verb, TARGET, spec])?;
                ensure!(output.is_success(), "wharf {verb} failed: {output:?}");
                output.took
            }
        };
        Ok(took.as_secs_f64() * 1e3)
    }
}

// === impl Seen ===

impl Seen {
    fn add(&mut self, paced: &Paced) {
        self.times.0.extend(paced.exchanges_us.iter().map(|time| time / 1e3));
        self.gap = self.gap.max(paced.longest_gap_us / 1e3);
    }
}

// === impl Change ===

impl Change {
    /// The kinds of calls with their names.
    pub(crate) fn series(&self) -> [(&'static str, &Times); 4] {
        [
            ("publish, API", &self.api.publish),
            ("unpublish, API", &self.api.unpublish),
            ("publish, CLI", &self.cli.publish),
            ("unpublish, CLI", &self.cli.unpublish),
        ]
    }
}

/// The smallest and the largest, when both were measured.
pub(crate) fn ends(changes: &[Change]) -> Option<(&Change, &Change)> {
    changes.first().zip(changes.last()).filter(|(few, many)| few.others < many.others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_do_not_meet() {
        let last = usize::from(FIRST_OTHER) + 2 * (SIZES[1] - 1);
        assert!(last < 32_768, "{last}");
        assert!(FLOWS.iter().all(|(_, port, _)| !CHANGED.contains(port) && *port < FIRST_OTHER));
    }

    #[test]
    fn the_longest_gap_of_all_rounds_counts() {
        let mut seen = Seen::default();
        for gap in [3000.0, 9000.0, 4000.0] {
            seen.add(&Paced { exchanges_us: vec![100.0], longest_gap_us: gap });
        }
        assert_eq!((seen.gap, seen.times.0.len()), (9.0, 3));
    }
}
