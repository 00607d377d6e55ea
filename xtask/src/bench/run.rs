//! `cargo xtask bench run`: how fast containers start, and what one that runs takes.
//!
//! See `docs/benchmarks/README.md` for how it measures and how its results are read.

mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::engine::{Engine, Kind};
use super::memory::{Memory, resident};
use super::rounds::{self, Interrupt};
use super::{OURS, found, ground, processes};
use crate::prerequisites;

/// Containers that run at the same time while memory is looked at.
const IDLE: usize = 20;
/// Where the web server in the container listens.
const SERVING: u16 = 80;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Who runs containers: ours, podman, docker.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Leave docs/benchmarks as it is; a run with few rounds or peers always does.
    #[arg(long)]
    no_write: bool,
    /// Measure this build of the program as ours, not the release build.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// `run -d`, until the command has printed the id.
    Detached,
    /// `exec`, to its end.
    Exec,
    /// `rm -f` of what runs.
    Remove,
    /// `run --rm`, to the end of the container.
    Attached,
}

/// What one engine has shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) kind: Kind,
    /// A row of times for each round, in the order of [`Act::ALL`].
    pub(crate) times: Vec<[Duration; 4]>,
    /// For each of [`IDLE`] containers, beside those of the engine itself.
    pub(crate) memory: Option<Memory>,
    /// Resident bytes of the largest process that holds one container.
    pub(crate) holder: Option<f64>,
}

/// Everything a run has found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) rounds: u32,
    /// Processors that were busy with something else before.
    pub(crate) other_work: f64,
    pub(crate) shown: Vec<Shown>,
}

/// Measures, prints, and writes what a whole run has found.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "nothing is measured in no rounds");
    let (program, kinds) = (options.program()?, options.kinds()?);
    if kinds.iter().any(|kind| kind.name() != OURS) {
        prerequisites::engines()?;
    }
    let interrupt = Interrupt::listen()?;
    processes::adopt_orphans()?;
    let other_work = rounds::other_work()?;
    let mut engines = Vec::new();
    for kind in kinds {
        let shown = Shown { kind, times: Vec::new(), memory: None, holder: None };
        engines.extend(Engine::start(kind, &program)?.map(|engine| (engine, shown)));
    }
    // What is read from the disk, and what is started on demand, is there after a first turn.
    engines.iter().try_for_each(|(engine, _)| turn(engine).map(drop))?;
    for number in 1..=options.rounds {
        eprintln!("round {number} of {}", options.rounds);
        for (engine, shown) in &mut engines {
            interrupt.check()?;
            shown.times.push(turn(engine)?);
        }
    }
    for (engine, shown) in &mut engines {
        interrupt.check()?;
        weigh(engine, shown)?;
    }
    let shown = engines.into_iter().map(|(_, shown)| shown).collect();
    let found = Found { rounds: options.rounds, other_work, shown };
    report::print(&found);
    if options.is_complete() { report::write(&found) } else { Ok(()) }
}

fn turn(engine: &Engine) -> Result<[Duration; 4]> {
    let detached = engine.run(&[], SERVING)?;
    let exec = engine.exec(&["true"])?;
    let removed = engine.remove()?;
    Ok([detached, exec, removed, engine.run_to_end(&["true"])?])
}

fn weigh(engine: &Engine, shown: &mut Shown) -> Result<()> {
    let before = engine.memory()?;
    engine.run_idle(IDLE)?;
    let count = u32::try_from(IDLE)?;
    shown.memory = Some((engine.memory()? - before) / f64::from(count));
    let holders = engine.processes(holder(engine.kind));
    shown.holder = holders.iter().filter_map(|pid| resident(*pid)).max_by(f64::total_cmp);
    Ok(())
}

/// What the process that holds one container has in its command line.
fn holder(kind: Kind) -> &'static str {
    match kind {
        Kind::Live | Kind::Ours => " shim --dir",
        Kind::Podman => "conmon",
        Kind::Docker => "containerd-shim",
    }
}

// === impl Act ===

impl Act {
    pub(crate) const ALL: [Self; 4] = [Self::Detached, Self::Exec, Self::Remove, Self::Attached];

    /// Its name in tables and files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Detached => "run -d",
            Self::Exec => "exec",
            Self::Remove => "rm -f",
            Self::Attached => "run --rm",
        }
    }
}

// === impl Options ===

impl Options {
    /// Whether the results say something about everybody.
    fn is_complete(&self) -> bool {
        !self.no_write && self.peers.is_empty() && self.rounds >= 8
    }

    fn program(&self) -> Result<PathBuf> {
        match &self.program {
            Some(program) => found(program),
            None => found(&ground::built()?.join("wharf")),
        }
    }

    fn kinds(&self) -> Result<Vec<Kind>> {
        let all = [Kind::Ours, Kind::Podman, Kind::Docker];
        for wanted in &self.peers {
            ensure!(all.iter().any(|kind| kind.name() == wanted), "nobody is called {wanted:?}");
        }
        let chosen =
            |kind: &Kind| self.peers.is_empty() || self.peers.iter().any(|it| it == kind.name());
        Ok(all.into_iter().filter(chosen).collect())
    }
}
