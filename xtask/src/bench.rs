//! `cargo xtask bench relay`: the relay beside other proxies, or beside another build of itself.
//!
//! See `docs/benchmarks/README.md` for how it measures and how its results are read.

mod agent;
mod column;
mod contender;
mod ground;
mod processes;
mod rounds;
mod statistics;
mod table;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use wharf_host::process::raise_descriptor_limit;

pub(crate) use self::agent::{Agent, run as run_agent};
use self::column::Column;
use self::contender::{Contender, Kind, Running};
use self::ground::Ground;
use self::rounds::{Interrupt, Plan};
use crate::prerequisites;
use crate::steps::{cargo, run as run_command};

const DIRECT: &str = "direct";
const OURS: &str = "ours";

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Measure the relay against the direct path, beside docker-proxy, HAProxy, nginx and socat.
    Relay(Options),
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
    /// Only what begins with one of these: bulk1, rr64x32, conns, udp, …
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Who is measured besides the direct path: ours, docker-proxy, haproxy, nginx, socat.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Leave docs/benchmarks as it is.
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
    let Bench::Relay(options) = bench;
    ensure!(rustix::process::geteuid().is_root(), "this needs root: its hosts are namespaces");
    if cfg!(debug_assertions) {
        return again_as_release();
    }
    raise_descriptor_limit()?;
    match &options.against {
        Some(other) => against(options, other),
        None => beside_peers(options),
    }
}

/// A debug build at the ends would be what limits the direct path.
fn again_as_release() -> Result<()> {
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
    let samples = measure(&plan, &contenders)?;
    let names: Vec<String> = contenders.iter().skip(1).map(|it| it.name.clone()).collect();
    table::print(&plan.columns, DIRECT, &names, &samples);
    let everyone: Vec<String> = contenders.iter().map(|it| it.name.clone()).collect();
    table::print_details(&plan.columns, &everyone, &samples);
    Ok(())
}

fn against(options: &Options, other: &Path) -> Result<()> {
    let plan = options.plan()?;
    let other = found(other)?;
    let kinds = vec![
        (OURS.to_owned(), Kind::Ours(options.ours()?)),
        ("other".to_owned(), Kind::Ours(other)),
    ];
    let contenders = Contender::number(kinds);
    let samples = measure(&plan, &contenders)?;
    table::print(&plan.columns, OURS, &["other".to_owned()], &samples);
    table::print_spread(&plan.columns, "other", &samples);
    Ok(())
}

fn found(program: &Path) -> Result<PathBuf> {
    program.canonicalize().with_context(|| format!("find {}", program.display()))
}

/// Measures the others against the first.
fn measure(plan: &Plan, contenders: &[Contender]) -> Result<rounds::Samples> {
    let interrupt = Interrupt::listen()?;
    let ground = Ground::build()?;
    let running: Result<Vec<Running>> =
        contenders.iter().map(|it| Running::ready(it, &ground)).collect();
    let running = running?;
    let (baseline, others) = running.split_first().context("nobody to measure")?;
    rounds::run(&ground, plan, baseline, others, &interrupt)
}

// === impl Options ===

impl Options {
    fn plan(&self) -> Result<Plan> {
        let mut columns: Vec<Column> = Vec::new();
        let everything = [String::new()];
        let prefixes = if self.only.is_empty() { &everything[..] } else { &self.only };
        for prefix in prefixes {
            let before = columns.len();
            columns.extend(Column::matching(prefix));
            ensure!(columns.len() > before, "no column begins with {prefix:?}");
        }
        columns.sort_unstable();
        columns.dedup();
        let window = Duration::try_from_secs_f64(self.seconds).context("--seconds")?;
        Ok(Plan { columns, rounds: self.rounds, window })
    }

    fn ours(&self) -> Result<PathBuf> {
        found(&self.program.clone().map_or_else(|| Ok(ground::built()?.join("wharf")), Ok)?)
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
