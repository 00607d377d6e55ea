//! Many ports at once, published and taken down again, by ours and by others in turn.

use std::path::Path;

use anyhow::Result;

use crate::bench::engine::{Engine, Kind};
use crate::bench::memory::Memory;
use crate::bench::rounds::Interrupt;
use crate::bench::statistics::median;

/// The range's ports, and how many of them Docker is given: to it a range is so many single ports with
/// a process or two each, and 20,000 processes are more than most machines hold.
const RANGE: (u16, u16) = (20_000, 10_000);
const DOCKER_RANGE: u16 = 1000;
/// Scattered ports are every second one from here on.
const SCATTERED: (u16, u16) = (20_000, 1000);
/// The rounds of those that take minutes for each.
const FEW_ROUNDS: u32 = 2;
/// Where the container's web server listens.
const SERVING: u16 = 20_500;

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    /// A thousand ports, none beside another, that lead to one port of the container.
    Scattered,
    /// Ten thousand in one range.
    Range,
}

/// One there-and-back of one engine, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Turn {
    publish: f64,
    answer: f64,
    unpublish: f64,
    /// A container without ports, run and removed.
    bare: Option<(f64, f64)>,
}

/// What was found of one engine in one case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Many {
    pub(crate) case: Case,
    pub(crate) kind: Kind,
    /// How many ports it was given.
    pub(crate) ports: u16,
    /// For each port, over a container without any.
    pub(crate) memory: Option<Memory>,
    turns: Vec<Turn>,
}

/// Measures every case with every one of `kinds`, `rounds` times.
pub(crate) fn measure(
    program: &Path,
    kinds: &[Kind],
    rounds: u32,
    interrupt: &Interrupt,
) -> Result<Vec<Many>> {
    let mut found = Vec::new();
    for case in [Case::Scattered, Case::Range] {
        found.extend(in_case(program, case, kinds, rounds, interrupt)?);
    }
    Ok(found)
}

/// The engines are started anew for each case, so that neither has memory from the other.
fn in_case(
    program: &Path,
    case: Case,
    kinds: &[Kind],
    rounds: u32,
    interrupt: &Interrupt,
) -> Result<Vec<Many>> {
    let mut measured: Vec<(Engine, Many)> = Vec::new();
    for kind in kinds {
        if let Some(engine) = Engine::start(*kind, program)? {
            measured.push((engine, Many::new(case, *kind)));
        }
    }
    for number in 1..=rounds {
        for (engine, many) in &mut measured {
            interrupt.check()?;
            if number <= many.rounds(rounds) {
                eprintln!("{}: {}, round {number}", case.name(), many.kind.name());
                many.turn(engine)?;
            }
        }
    }
    Ok(measured.into_iter().map(|(_, many)| many).collect())
}

// === impl Case ===

impl Case {
    /// Its name in tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scattered => "1,000 scattered ports",
            Self::Range => "a range of 10,000 ports",
        }
    }

    fn ports(self, kind: Kind) -> u16 {
        match (self, kind) {
            (Self::Scattered, _) => SCATTERED.1,
            (Self::Range, Kind::Docker) => DOCKER_RANGE,
            (Self::Range, _) => RANGE.1,
        }
    }

    fn specs(self, ports: u16) -> Vec<String> {
        match self {
            Self::Scattered => {
                let ports = (0..ports).map(|place| SCATTERED.0 + 2 * place);
                ports.map(|port| format!("{port}:{SERVING}")).collect()
            }
            Self::Range => {
                let (first, last) = (RANGE.0, RANGE.0 + (ports - 1));
                vec![format!("{first}-{last}:{first}-{last}")]
            }
        }
    }

    /// The last port that leads to the web server.
    fn asked(self, ports: u16) -> u16 {
        match self {
            Self::Scattered => SCATTERED.0 + 2 * (ports - 1),
            Self::Range => SERVING,
        }
    }
}

// === impl Many ===

impl Many {
    fn new(case: Case, kind: Kind) -> Self {
        Self { case, kind, ports: case.ports(kind), memory: None, turns: Vec::new() }
    }

    fn rounds(&self, asked: u32) -> u32 {
        match (self.kind, self.case) {
            (Kind::Docker, _) | (Kind::Podman, Case::Scattered) => asked.min(FEW_ROUNDS),
            _ => asked,
        }
    }

    fn turn(&mut self, engine: &Engine) -> Result<()> {
        let turn = match self.kind {
            Kind::Live => self.live(engine)?,
            _ => self.whole(engine)?,
        };
        self.turns.push(turn);
        Ok(())
    }

    /// A container without ports, then one with them.
    fn whole(&mut self, engine: &Engine) -> Result<Turn> {
        let bare = engine.run(&[], SERVING)?;
        let before = self.memory_before(engine)?;
        let bare = Some((bare.as_secs_f64(), engine.remove()?.as_secs_f64()));
        let publish = engine.run(&self.case.specs(self.ports), SERVING)?;
        let answer = engine.await_answer(self.case.asked(self.ports))?;
        self.note_memory(engine, before)?;
        let unpublish = engine.remove()?.as_secs_f64();
        let (publish, answer) = (publish.as_secs_f64(), answer.as_secs_f64());
        Ok(Turn { publish, answer, unpublish, bare })
    }

    /// The ports on a container that runs since before the first turn.
    fn live(&mut self, engine: &Engine) -> Result<Turn> {
        if self.turns.is_empty() {
            engine.run(&[], SERVING)?;
        }
        let before = self.memory_before(engine)?;
        let publish = engine.publish(&self.case.specs(self.ports))?;
        let answer = engine.await_answer(self.case.asked(self.ports))?;
        self.note_memory(engine, before)?;
        let unpublish = engine.unpublish()?.as_secs_f64();
        let (publish, answer) = (publish.as_secs_f64(), answer.as_secs_f64());
        Ok(Turn { publish, answer, unpublish, bare: None })
    }

    /// Only in the first turn: later ones find what earlier ones have left to be used again.
    fn memory_before(&self, engine: &Engine) -> Result<Option<Memory>> {
        self.turns.is_empty().then(|| engine.memory()).transpose()
    }

    fn note_memory(&mut self, engine: &Engine, before: Option<Memory>) -> Result<()> {
        if let Some(before) = before {
            self.memory = Some((engine.memory()? - before) / f64::from(self.ports));
        }
        Ok(())
    }

    fn median(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().map(of)).unwrap_or_default()
    }

    /// Seconds from the start of the command until it has ended and the last port answers.
    pub(crate) fn publish(&self) -> f64 {
        self.median(|turn| turn.publish + turn.answer)
    }

    /// Seconds that the command takes.
    pub(crate) fn unpublish(&self) -> f64 {
        self.median(|turn| turn.unpublish)
    }

    /// Seconds for both.
    pub(crate) fn both(&self) -> f64 {
        self.median(|turn| turn.publish + turn.answer + turn.unpublish)
    }

    /// Seconds for running and removing a container without ports.
    pub(crate) fn bare(&self) -> Option<f64> {
        median(self.turns.iter().filter_map(|turn| turn.bare).map(|(run, remove)| run + remove))
    }

    /// How often it was measured.
    pub(crate) fn times(&self) -> usize {
        self.turns.len()
    }

    #[cfg(test)]
    pub(crate) fn of(case: Case, kind: Kind, seconds: f64) -> Self {
        let turn = Turn { publish: seconds / 2.0, unpublish: seconds / 2.0, ..Turn::default() };
        Self { turns: vec![turn], ..Self::new(case, kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_ports_are_not_beside_each_other() {
        let specs = Case::Scattered.specs(1000);
        assert_eq!((specs.len(), specs[1].as_str()), (1000, "20002:20500"));
        assert_eq!(Case::Scattered.asked(1000), 21_998);
    }

    #[test]
    fn every_range_holds_the_web_server() {
        assert_eq!(Case::Range.specs(10_000), ["20000-29999:20000-29999"]);
        assert!(Case::Range.specs(DOCKER_RANGE)[0].ends_with("20999"));
        assert!((RANGE.0..RANGE.0 + DOCKER_RANGE).contains(&SERVING));
    }

    #[test]
    fn a_median_is_of_whole_turns() {
        let many = Many::of(Case::Range, Kind::Ours, 3.0);
        assert!((many.both() - 3.0).abs() < 1e-9);
        assert_eq!(many.bare(), None);
    }
}
