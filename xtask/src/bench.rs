//! `cargo xtask bench relay`: the relay beside other proxies, or beside another build of itself.
//! `bench local`, `bench publish` and `bench run` are below in rooms of their own.
//!
//! See `docs/benchmarks/README.md` for how it measures and how its results are read.

mod agent;
mod chart;
mod column;
mod contender;
mod costs;
mod engine;
mod first;
mod ground;
mod local;
mod machine;
mod memory;
mod options;
mod processes;
mod publish;
mod record;
mod rounds;
mod run;
mod site;
mod statistics;
mod summary;
mod table;
mod times;
mod verdict;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use wharf_host::process::raise_descriptor_limit;

pub(crate) use self::agent::{Agent, run as run_agent};
use self::column::Column;
use self::contender::{Contender, Kind, Running, Through};
use self::ground::Ground;
use self::options::Options;
use self::record::Record;
use self::rounds::{Interrupt, Plan, Samples};
use self::summary::Summary;
use crate::prerequisites;
use crate::steps::{cargo, run as run_command};

const DIRECT: &str = "direct";
/// What `--only` calls start time and memory, which are no columns.
const COSTS: &str = "costs";
const OURS: &str = "ours";
/// A congestion control that does not pace, and which every kernel has.
const UNPACED: &str = "reno";

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Measure the relay against the direct path, beside docker-proxy, HAProxy, nginx and socat.
    Relay(RelayOptions),
    /// Measure what processes of the host get through published ports, by every plane and by
    /// Docker's means.
    Local(Options),
    /// Measure how fast ports come and go, beside Docker and Podman, and what many of them cost.
    Publish(publish::Options),
    /// Measure how fast containers start, beside Docker and Podman, and what one that runs takes.
    Run(run::Options),
}

/// How to measure the relay.
#[derive(Debug, Args)]
pub(crate) struct RelayOptions {
    #[command(flatten)]
    options: Options,
    /// Compare the release build with this other build of the program, and with nothing else.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// The congestion control of all hosts, instead of the machine's; a run of everything measures
    /// streams by `reno` besides.
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
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
        Bench::Local(options) => local::run(options),
        Bench::Publish(options) => publish::run(options),
        Bench::Run(options) => run::run(options),
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

fn beside_peers(relay: &RelayOptions) -> Result<()> {
    let options = &relay.options;
    let plan = options.plan(&Column::RELAY, COSTS)?;
    let kinds = kinds(options)?;
    if kinds.iter().any(|(name, _)| *name != OURS) {
        prerequisites::proxies()?;
    }
    let mut contenders = Contender::number(kinds);
    contenders.insert(0, Contender { name: DIRECT.to_owned(), kind: Kind::Direct, place: 0 });
    let other_work = rounds::other_work()?;
    let (interrupt, congestion) = (prepared()?, relay.congestion.as_deref());
    let ground = Ground::build(congestion)?;
    let summary = measure(&ground, &plan, &contenders, &interrupt)?;
    let costs = match options.measures(COSTS) {
        true => costs::measure(&ground, &contenders, &interrupt)?,
        false => Vec::new(),
    };
    drop(ground);
    // What another congestion control shows does not belong into the files.
    let complete = options.is_complete() && congestion.is_none();
    let unpaced = match complete {
        true => Some(streams_unpaced(&plan, &contenders, &interrupt)?),
        false => None,
    };
    let mut requirements = verdict::judge(&summary, &costs);
    requirements.extend(unpaced.iter().flat_map(verdict::judge_unpaced));
    table::print(&summary);
    table::print_costs(&costs);
    if let Some(unpaced) = &unpaced {
        println!("\n=== with {UNPACED} everywhere");
        table::print(unpaced);
    }
    verdict::print(&requirements);
    let record = Record {
        plan: &plan,
        other_work,
        summary: &summary,
        unpaced: unpaced.as_ref(),
        costs: &costs,
        requirements: &requirements,
    };
    if complete { record.write() } else { Ok(()) }
}

/// Streams between ends that do not pace, as most machines' do not: it is a different load.
fn streams_unpaced(
    plan: &Plan,
    contenders: &[Contender],
    interrupt: &Interrupt,
) -> Result<Summary> {
    let columns = plan.columns.iter().copied().filter(|column| column.is_bulk()).collect();
    let plan = Plan { columns, ..plan.clone() };
    measure(&Ground::build(Some(UNPACED))?, &plan, contenders, interrupt)
}

fn against(relay: &RelayOptions, other: &Path) -> Result<()> {
    let options = &relay.options;
    let plan = options.plan(&Column::RELAY, COSTS)?;
    let kinds = vec![(OURS, Kind::Ours(options.program()?)), ("other", Kind::Ours(found(other)?))];
    rounds::other_work()?;
    let interrupt = prepared()?;
    let ground = Ground::build(relay.congestion.as_deref())?;
    let summary = measure(&ground, &plan, &Contender::number(kinds), &interrupt)?;
    table::print(&summary);
    table::print_spread(&summary);
    Ok(())
}

fn prepared() -> Result<Interrupt> {
    let interrupt = Interrupt::listen()?;
    processes::adopt_orphans()?;
    Ok(interrupt)
}

/// Measures the others against the first.
fn measure(
    ground: &Ground,
    plan: &Plan,
    contenders: &[Contender],
    interrupt: &Interrupt,
) -> Result<Summary> {
    let samples = rated(ground, plan, contenders, interrupt)?;
    let names = contenders.iter().map(|it| it.name.clone()).collect();
    Ok(Summary::new(plan.columns.clone(), names, &samples))
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
    let ways: Vec<Through<'_>> =
        running?.into_iter().map(|running| Through { ground, running }).collect();
    rounds::run(plan, &ways, interrupt)
}

fn found(program: &Path) -> Result<PathBuf> {
    program.canonicalize().with_context(|| format!("find {}", program.display()))
}

fn kinds(options: &Options) -> Result<Vec<(&'static str, Kind)>> {
    options.chosen(vec![
        (OURS, Kind::Ours(options.program()?)),
        ("docker-proxy", Kind::DockerProxy),
        ("haproxy", Kind::Haproxy),
        ("nginx", Kind::Nginx),
        ("socat", Kind::Socat),
    ])
}
