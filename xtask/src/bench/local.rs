//! `cargo xtask bench local`: what processes of the host get through published ports.
//!
//! See `docs/benchmarks/README.md` for how it measures and how its results are read.

mod host;
mod record;
mod verdict;
mod way;

use std::path::Path as FilePath;

use anyhow::Result;

use self::host::LocalHost;
use self::way::{Kind, Path};
use super::column::Column;
use super::first::{self, First};
use super::options::Options;
use super::rounds::{self, Interrupt, Plan, Way as _};
use super::summary::Summary;
use super::{processes, table};
use crate::prerequisites;

/// What `--only` calls the first packets, which are no column.
const FIRST: &str = "first";

/// Everything a run has found.
#[derive(Debug, Default)]
pub(crate) struct Local {
    /// Processors that were busy with something else before.
    pub(crate) other_work: f64,
    pub(crate) paths: Vec<(Path, Summary)>,
    pub(crate) first: Vec<First>,
}

/// Measures, prints, and writes what a whole run has found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let plan = options.plan(&Column::LOCAL, FIRST)?;
    let choices = Kind::CHOICES.map(|kind| (kind.name(), kind)).to_vec();
    let kinds: Vec<Kind> = options.chosen(choices)?.into_iter().map(|(_, kind)| kind).collect();
    let program = options.program()?;
    if options.measures(FIRST) || kinds.iter().any(|kind| kind.is_of_docker()) {
        prerequisites::publishers()?;
    }
    let interrupt = Interrupt::listen()?;
    processes::adopt_orphans()?;
    let mut found = Local { other_work: rounds::other_work()?, ..Local::default() };
    if !plan.columns.is_empty() {
        found.paths = measure(&program, &plan, &kinds, &interrupt)?;
    }
    if options.measures(FIRST) {
        found.first = first::measure(&program, plan.rounds, &first::FROM_HERE, &interrupt)?;
    }
    let requirements = verdict::judge(&found);
    print(&found);
    super::verdict::print(&requirements);
    if options.is_complete() { record::write(&plan, &found, &requirements) } else { Ok(()) }
}

/// Runs all rounds on one path after the other, with everybody running beside each other.
fn measure(
    program: &FilePath,
    plan: &Plan,
    kinds: &[Kind],
    interrupt: &Interrupt,
) -> Result<Vec<(Path, Summary)>> {
    let host = LocalHost::start(program, kinds)?;
    let mut found = Vec::new();
    for path in Path::ALL {
        let ways = host.ways(path, kinds);
        if ways.len() < 2 {
            continue;
        }
        eprintln!("from the host to {}", path.name());
        let samples = rounds::run(plan, &ways, interrupt)?;
        let names = ways.iter().map(|way| way.name().to_owned()).collect();
        found.push((path, Summary::new(plan.columns.clone(), names, &samples)));
    }
    Ok(found)
}

fn print(found: &Local) {
    for (path, summary) in &found.paths {
        table::print_heading(&format!("from the host to {}", path.name()));
        table::print(summary);
    }
    if !found.first.is_empty() {
        first::print("the host", &found.first);
    }
}
