//! `cargo xtask bench relay`: the relay beside other proxies, or beside another build of itself.
//! `bench publish` is below in a room of its own.
//!
//! See `docs/benchmarks/README.md` for how it measures and how its results are read.

mod agent;
mod chart;
mod column;
mod contender;
mod costs;
mod ground;
mod machine;
mod memory;
mod processes;
mod publish;
mod record;
mod rounds;
mod statistics;
mod summary;
mod table;
mod verdict;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use wharf_host::process::raise_descriptor_limit;

pub(crate) use self::agent::{Agent, run as run_agent};
use self::column::Column;
use self::contender::{Contender, Kind, Running};
use self::costs::Costs;
use self::ground::Ground;
use self::record::Record;
use self::rounds::{Interrupt, Plan, Samples};
use self::summary::Summary;
use crate::prerequisites;
use crate::steps::{cargo, run as run_command};

const DIRECT: &str = "direct";
/// What `--only` calls start time and memory, which are no columns.
const COSTS: &str = "costs";
const OURS: &str = "ours";

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Measure the relay against the direct path, beside docker-proxy, HAProxy, nginx and socat.
    Relay(Options),
    /// Measure how fast ports come and go, beside Docker and Podman, and what many of them cost.
    Publish(publish::Options),
}

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 8)]
    rounds: u32,
    /// The length of one window.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Only what begins with one of these: bulk1, rr64x32, conns, udp, costs, …
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Who is measured besides the direct path: ours, docker-proxy, haproxy, nginx, socat.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Leave docs/benchmarks as it is; a run of a part always does.
    #[arg(long)]
    no_write: bool,
    /// Measure this build of the program as ours, not the release build.
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// Compare the release build with this other build of the program, and with nothing else.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
}

/// Builds what is measured, then measures.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this needs root: its hosts are namespaces");
    if cfg!(debug_assertions) {
        return again_as_release();
    }
    raise_descriptor_limit()?;
    match bench {
        Bench::Relay(options) => match &options.against {
            Some(other) => against(options, other),
            None => beside_peers(options),
        },
        Bench::Publish(options) => publish::run(options),
    }
}

/// A debug build at the ends would be what limits the direct path.
fn again_as_release() -> Result<()> {
    prerequisites::compilers()?;
    eprintln!("building the program and this tool (release)");
    let packages = ["--package", "wharf-cli", "--package", "xtask"];
    run_command(cargo().args(["build", "--release", "--locked"]).args(packages))?;
    let directory = ground::built()?.parent().context("a target directory")?.join("release");
    let mut command = std::process::Command::new(directory.join("xtask"));
    Err(command.args(std::env::args_os().skip(1)).exec()).context("start the release build")
}

fn beside_peers(options: &Options) -> Result<()> {
    let plan = options.plan()?;
    let kinds = options.kinds()?;
    if kinds.iter().any(|(name, _)| name != OURS) {
        prerequisites::proxies()?;
    }
    let mut contenders = Contender::number(kinds);
    contenders.insert(0, Contender { name: DIRECT.to_owned(), kind: Kind::Direct, place: 0 });
    let other_work = rounds::other_work()?;
    let (summary, costs) = measure(&plan, &contenders, options.measures_costs())?;
    let requirements = verdict::judge(&summary, &costs);
    table::print(&summary);
    table::print_costs(&costs);
    verdict::print(&requirements);
    let record = Record {
        plan: &plan,
        other_work,
        summary: &summary,
        costs: &costs,
        requirements: &requirements,
    };
    if options.is_complete() { record.write() } else { Ok(()) }
}

fn against(options: &Options, other: &Path) -> Result<()> {
    let plan = options.plan()?;
    let kinds = vec![
        (OURS.to_owned(), Kind::Ours(options.ours()?)),
        ("other".to_owned(), Kind::Ours(found(other)?)),
    ];
    rounds::other_work()?;
    let (summary, _) = measure(&plan, &Contender::number(kinds), false)?;
    table::print(&summary);
    table::print_spread(&summary);
    Ok(())
}

/// Measures the others against the first.
fn measure(
    plan: &Plan,
    contenders: &[Contender],
    with_costs: bool,
) -> Result<(Summary, Vec<Costs>)> {
    let interrupt = Interrupt::listen()?;
    processes::adopt_orphans()?;
    let ground = Ground::build()?;
    let samples = rated(&ground, plan, contenders, &interrupt)?;
    let names = contenders.iter().map(|it| it.name.clone()).collect();
    let summary = Summary::new(plan.columns.clone(), names, &samples);
    let costs =
        if with_costs { costs::measure(&ground, contenders, &interrupt)? } else { Vec::new() };
    Ok((summary, costs))
}

/// Runs all rounds, with everybody running beside each other.
fn rated(
    ground: &Ground,
    plan: &Plan,
    contenders: &[Contender],
    interrupt: &Interrupt,
) -> Result<Samples> {
    if plan.columns.is_empty() {
        return Ok(Samples::new());
    }
    let running: Result<Vec<Running>> =
        contenders.iter().map(|it| Running::ready(it, ground)).collect();
    let running = running?;
    let (baseline, others) = running.split_first().context("nobody to measure")?;
    rounds::run(ground, plan, baseline, others, interrupt)
}

fn found(program: &Path) -> Result<PathBuf> {
    program.canonicalize().with_context(|| format!("find {}", program.display()))
}

// === impl Options ===

impl Options {
    fn plan(&self) -> Result<Plan> {
        let mut columns: Vec<Column> = Vec::new();
        let everything = [String::new()];
        let prefixes = if self.only.is_empty() { &everything[..] } else { &self.only };
        for prefix in prefixes.iter().filter(|prefix| *prefix != COSTS) {
            let before = columns.len();
            columns.extend(Column::matching(prefix));
            ensure!(columns.len() > before, "no column begins with {prefix:?}");
        }
        columns.sort_unstable();
        columns.dedup();
        let window = Duration::try_from_secs_f64(self.seconds).context("--seconds")?;
        Ok(Plan { columns, rounds: self.rounds, window })
    }

    fn measures_costs(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|chosen| chosen == COSTS)
    }

    /// Whether the results say something about everybody and everything.
    fn is_complete(&self) -> bool {
        !self.no_write && self.only.is_empty() && self.peers.is_empty()
    }

    fn ours(&self) -> Result<PathBuf> {
        match &self.program {
            Some(program) => found(program),
            None => found(&ground::built()?.join("wharf")),
        }
    }

    fn kinds(&self) -> Result<Vec<(String, Kind)>> {
        let all = [
            (OURS, Kind::Ours(self.ours()?)),
            ("docker-proxy", Kind::DockerProxy),
            ("haproxy", Kind::Haproxy),
            ("nginx", Kind::Nginx),
            ("socat", Kind::Socat),
        ];
        for wanted in &self.peers {
            ensure!(all.iter().any(|(name, _)| name == wanted), "nobody is called {wanted:?}");
        }
        let chosen =
            |name: &str| self.peers.is_empty() || self.peers.iter().any(|wanted| wanted == name);
        Ok(all.into_iter().filter(|(n, _)| chosen(n)).map(|(n, k)| (n.to_owned(), k)).collect())
    }
}
