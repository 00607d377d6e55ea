//! `cargo xtask bench publish`: how fast ports come and go, and what many of them cost.
//!
//! See `docs/benchmarks/README.md` for how it measures and how its results are read.

mod change;
mod chart;
mod many;
mod record;
mod table;
mod verdict;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use self::change::Change;
use self::many::Many;
use super::engine::Kind;
use super::first::{self, First};
use super::rounds::{self, Interrupt};
use super::{OURS, found, ground, processes};
use crate::prerequisites;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often everything is measured; twice at most what takes Docker or Podman minutes.
    #[arg(long, default_value_t = 8)]
    rounds: u32,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Who publishes many ports: ours, podman, docker.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Leave docs/benchmarks as it is; a run of a part always does.
    #[arg(long)]
    no_write: bool,
    /// Measure this build of the program as ours, not the release build.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One port more and one less, beside few others and beside many.
    One,
    /// Many ports at once, beside Podman and Docker.
    Many,
    /// The first packet with one port and with many.
    First,
}

/// Everything a run has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rounds: u32,
    /// Processors that were busy with something else before.
    pub(crate) other_work: f64,
    pub(crate) changes: Vec<Change>,
    pub(crate) many: Vec<Many>,
    pub(crate) first: Vec<First>,
}

/// Measures, prints, and writes what a whole run has found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (program, kinds) = (options.program()?, options.kinds()?);
    if options.measures(Part::Many) && kinds.iter().any(|kind| kind.chosen_by() != OURS) {
        prerequisites::engines()?;
    }
    let interrupt = Interrupt::listen()?;
    processes::adopt_orphans()?;
    let rounds = options.rounds;
    let mut found = Found { rounds, other_work: rounds::other_work()?, ..Found::default() };
    if options.measures(Part::One) {
        found.changes = change::measure(&program, rounds, &interrupt)?;
    }
    if options.measures(Part::First) {
        found.first = first::measure(&program, rounds, &first::FROM_AFAR, &interrupt)?;
    }
    if options.measures(Part::Many) {
        found.many = many::measure(&program, &kinds, rounds, &interrupt)?;
    }
    let requirements = verdict::judge(&found);
    table::print(&found);
    super::verdict::print(&requirements);
    if options.is_complete() { record::write(&found, &requirements) } else { Ok(()) }
}

// === impl Options ===

impl Options {
    fn measures(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Whether the results say something about everybody and everything.
    fn is_complete(&self) -> bool {
        !self.no_write && self.only.is_empty() && self.peers.is_empty()
    }

    fn program(&self) -> Result<PathBuf> {
        match &self.program {
            Some(program) => found(program),
            None => found(&ground::built()?.join("wharf")),
        }
    }

    fn kinds(&self) -> Result<Vec<Kind>> {
        for wanted in &self.peers {
            let known = Kind::ALL.iter().any(|kind| kind.chosen_by() == wanted);
            ensure!(known, "nobody is called {wanted:?}");
        }
        let chosen = |kind: &Kind| {
            self.peers.is_empty() || self.peers.iter().any(|it| it == kind.chosen_by())
        };
        Ok(Kind::ALL.into_iter().filter(chosen).collect())
    }
}
