//! A run: draw, do, compare; and what is said when it fails.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_lab::Snapshot;

use super::control::descriptors;
use super::dice::Dice;
use super::model::{Model, NETWORKS};
use super::operation::Operation;
use super::site::{Outcome, STILL, Site};
use super::view::{self, Background, REPAIR_LIMIT};

/// How often the longest list is read even if there is nothing new in it.
const THOROUGH: usize = 10;
/// How often clients come.
const TALK: usize = 50;
/// What was started is taken to listen so much later.
const SETTLED: Duration = Duration::from_secs(1);
/// How often everything is taken down, to see what is left.
const REST: usize = 500;
/// How many of the last operations are told with a failure.
const TOLD: usize = 25;
/// Descriptors that a process may have open at one moment and not at another: an answer on its way.
const MOMENTARY: usize = 3;
/// The kernel takes a namespace apart behind everyone's back.
const LEFT_LIMIT: Duration = Duration::from_secs(10);

/// A run under way.
struct Play {
    site: Site,
    model: Model,
    dice: Dice,
    background: Background,
    rest: Option<Rest>,
    last: VecDeque<String>,
    last_start: Instant,
    done: Done,
}

/// What there is when nothing is published.
struct Rest {
    snapshot: Snapshot,
    daemon: usize,
    relay: usize,
}

/// What was done, for whoever reads the test's output.
#[derive(Debug, Default)]
struct Done {
    operations: usize,
    refused: usize,
    faults: usize,
    most_published: usize,
    asking: Duration,
    comparing: Duration,
    slowest_repair: Duration,
}

/// Carries out `operations` of `seed`; skipped, with a word why, where labs cannot be built.
///
/// # Panics
/// When something is not as the model says.
pub(super) fn play(seed: u64, operations: usize) {
    eprintln!("seed {seed}, {operations} operations");
    let Some(mut play) = Play::begin(seed) else { return };
    let began = Instant::now();
    for number in 0..operations {
        if let Err(why) = play.step(number) {
            play.give_up(seed, number, &why);
        }
    }
    if let Err(why) = play.rest() {
        play.give_up(seed, operations, &why);
    }
    let took = began.elapsed();
    eprintln!("{:?} in {took:.1?}", play.done);
}

/// Carries out these operations, and compares after each as ever.
///
/// # Panics
/// As [`play`].
pub(super) fn recite(operations: impl IntoIterator<Item = Operation>) {
    let Some(mut play) = Play::begin(0) else { return };
    for (number, operation) in operations.into_iter().enumerate() {
        play.note(format!("{number}: {operation}"));
        if let Err(why) = play.carry_out(&operation) {
            play.give_up(0, number, &why);
        }
    }
}

// === impl Play ===

impl Play {
    fn begin(seed: u64) -> Option<Self> {
        let site = Site::new(&format!("random {seed}"))?;
        let mut play = Self {
            site,
            model: Model::default(),
            dice: Dice::new(seed),
            background: Background::default(),
            rest: None,
            last: VecDeque::new(),
            last_start: Instant::now(),
            done: Done::default(),
        };
        play.warm_up();
        Some(play)
    }

    /// Brings up every network, the relay and the way back, so that they are there from now on.
    fn warm_up(&mut self) {
        // The default network need not be there when nobody is on it.
        let specs = Vec::new();
        let still = Operation::Run { name: STILL.to_owned(), network: &NETWORKS[0], specs };
        let made = self.site.request(&still, &self.model);
        assert!(matches!(made, Outcome::Done(_)), "{made:?}");
        for (network, name) in NETWORKS.iter().zip(["w0", "w1", "w2"]) {
            let specs = vec!["9000-9001:80-81".parse().unwrap()];
            let run = Operation::Run { name: name.to_owned(), network, specs };
            let made = self.site.request(&run, &self.model);
            assert!(matches!(made, Outcome::Done(_)), "{made:?}");
            let gone = Operation::Remove { name: name.to_owned() };
            let gone = self.site.request(&gone, &self.model);
            assert!(matches!(gone, Outcome::Done(_)), "{gone:?}");
        }
        self.background = Background::look(&self.site).unwrap();
        self.rest().unwrap();
    }

    fn step(&mut self, number: usize) -> Result<(), String> {
        let operation = Operation::draw(&mut self.dice, &self.model);
        self.note(format!("{number}: {operation}"));
        self.done.operations += 1;
        self.carry_out(&operation)?;
        self.done.most_published = self.done.most_published.max(self.model.publications.len());
        let fault = operation.is_fault();
        if operation.starts() {
            self.last_start = Instant::now();
        }
        if fault || number % TALK == TALK - 1 {
            let patient = fault || self.last_start.elapsed() < SETTLED;
            self.site.talk(&mut self.dice, &self.model, patient)?;
        }
        if number % REST == REST - 1 {
            self.rest()?;
        }
        Ok(())
    }

    fn note(&mut self, line: String) {
        if std::env::var_os("WHARF_TRACE").is_some() {
            eprintln!("{line}");
        }
        self.last.push_back(line);
        if self.last.len() > TOLD {
            self.last.pop_front();
        }
    }

    fn carry_out(&mut self, operation: &Operation) -> Result<(), String> {
        let mut after = self.model.clone();
        let allowed = operation.apply(&mut after);
        match operation {
            Operation::Fault(fault) => {
                self.done.faults += 1;
                self.site.suffer(fault, self.background.owned)?;
                self.settled(REPAIR_LIMIT, true)?;
                return Ok(());
            }
            Operation::Torn { torn, after_micros } => {
                self.done.faults += 1;
                let pause = Duration::from_micros(*after_micros);
                let told = self.site.tear(torn, pause, &self.model);
                let done = self.either(after, allowed, told)?;
                // Which of both is a matter of time; what comes next is to be the same every time.
                return if done { Ok(()) } else { self.carry_out(torn) };
            }
            _ => {}
        }
        let began = Instant::now();
        let told = self.site.request(operation, &self.model);
        self.done.asking += began.elapsed();
        match (allowed, told) {
            (Ok(()), Outcome::Done(told)) => {
                self.model = after;
                view::learn(&mut self.model, &told["ports"]);
            }
            (Err(_), Outcome::Refused(..)) => {
                self.done.refused += 1;
                // A container whose first start was refused is there all the same.
                self.model = self.refused(operation, after);
            }
            (Ok(()), told) => return Err(format!("this should be done, and was: {told:?}")),
            (Err(why), told) => {
                return Err(format!("this should be refused ({why}), and was: {told:?}"));
            }
        }
        self.learn(operation)?;
        self.settled(Duration::ZERO, self.done.operations.is_multiple_of(THOROUGH))?;
        Ok(())
    }

    /// What is left of an operation in two parts whose second part was refused.
    fn refused(&self, operation: &Operation, after: Model) -> Model {
        let made = |name: &String| {
            !self.model.containers.contains_key(name) && after.containers.contains_key(name)
        };
        match operation {
            Operation::Run { name, .. } if made(name) => after,
            Operation::Restart { .. } => after,
            _ => self.model.clone(),
        }
    }

    /// A daemon that was killed has done all of it or nothing; all, if it said so. False if nothing is
    /// done that was to be done.
    fn either(
        &mut self,
        after: Model,
        allowed: Result<(), &'static str>,
        told: Outcome,
    ) -> Result<bool, String> {
        let mut possible = match (allowed, &told) {
            (Ok(()), Outcome::Done(_)) => vec![after],
            (Ok(()), Outcome::Broken(_)) => vec![after, self.model.clone()],
            (Err(_), Outcome::Refused(..) | Outcome::Broken(_)) => vec![self.model.clone()],
            (allowed, told) => return Err(format!("the model says {allowed:?}, we: {told:?}")),
        };
        let mut all = format!("told: {told:?}");
        let deadline = Instant::now() + REPAIR_LIMIT;
        loop {
            for (nth, model) in possible.iter_mut().enumerate() {
                match self.site.settle(&self.background, model, Duration::ZERO, true) {
                    Ok(_) => {
                        self.model = model.clone();
                        return Ok(nth == 0);
                    }
                    Err(differences) if Instant::now() >= deadline => {
                        let _written = writeln!(all, "\neither: {}", differences.join("\n"));
                    }
                    Err(_) => {}
                }
            }
            if Instant::now() >= deadline {
                return Err(all);
            }
        }
    }

    /// A new container's addresses.
    fn learn(&mut self, operation: &Operation) -> Result<(), String> {
        let Operation::Run { name, network, .. } = operation else { return Ok(()) };
        let Some(container) = self.model.containers.get_mut(name) else { return Ok(()) };
        if !container.addresses.is_empty() {
            return Ok(());
        }
        let told = self.site.get(&format!("/v1/containers/{name}"))?;
        let place = &told["NetworkSettings"]["Networks"][network.name];
        let fields = [&place["IPAddress"], &place["GlobalIPv6Address"]];
        let addresses = fields.into_iter().filter_map(Value::as_str);
        container.addresses = addresses.filter_map(|it| it.parse().ok()).collect();
        match container.addresses.len() == 1 + usize::from(network.has_ipv6) {
            true => Ok(()),
            false => Err(format!("the addresses of {name} are not told: {told}")),
        }
    }

    fn settled(&mut self, limit: Duration, thorough: bool) -> Result<(), String> {
        let took = self.site.settle(&self.background, &mut self.model, limit, thorough);
        let took = took.map_err(|differences| differences.join("\n"))?;
        self.done.comparing += took;
        self.done.slowest_repair = self.done.slowest_repair.max(took);
        Ok(())
    }

    /// Takes everything down and sees whether it is as it was the first time.
    fn rest(&mut self) -> Result<(), String> {
        let names: Vec<String> = self.model.containers.keys().cloned().collect();
        // The last container has a port, so that there is a relay, whatever came before.
        let first = Operation::Run {
            name: "rest".to_owned(),
            network: &NETWORKS[0],
            specs: vec!["9000:80".parse().unwrap()],
        };
        let others = names.into_iter().chain(["rest".to_owned()]);
        let others = others.map(|name| Operation::Remove { name });
        for operation in [first].into_iter().chain(others) {
            self.note(format!("rest: {operation}"));
            self.carry_out(&operation)?;
        }
        self.site.without_others();
        let (daemon, relay) = (self.site.daemon, self.site.relay().map(|relay| relay.pid()));
        let relay = relay.ok_or("there is no relay")?;
        let Some(before) = &self.rest else {
            let snapshot = self.site.wharf.snapshot().map_err(|error| format!("{error:#}"))?;
            let (daemon, relay) = (descriptors(daemon), descriptors(relay));
            self.rest = Some(Rest { snapshot, daemon, relay });
            return Ok(());
        };
        let wharf = &self.site.wharf;
        wharf.settles_to(&before.snapshot, LEFT_LIMIT).map_err(|error| format!("{error:#}"))?;
        for (name, pid, before) in
            [("daemon", daemon, before.daemon), ("relay", relay, before.relay)]
        {
            let now = || descriptors(pid) <= before + MOMENTARY;
            let settled = wharf_lab::wait::until(REPAIR_LIMIT, "the end", || now().then_some(()));
            settled.map_err(|_| {
                format!("the {name} had {before} descriptors and has {}", descriptors(pid))
            })?;
        }
        Ok(())
    }

    #[track_caller]
    fn give_up(&self, seed: u64, number: usize, why: &str) -> ! {
        let last = self.last.iter().fold(String::new(), |all, it| all + it + "\n");
        let (replay, logs) = (number + 1, self.site.logs());
        panic!(
            "seed {seed}, operation {number}: {why}\n\nThe last operations:\n{last}\n\
             Again: WHARF_SEED={seed} WHARF_OPERATIONS={replay} cargo nextest run -p wharf-cli \
             -E 'test(random_operations)'\n\
             To keep it: a line `{seed} {replay}` in a file of its own in tests/random/seeds\n{logs}"
        );
    }
}
