//! The gate: what must pass before a change lands, the same on every machine.

use anyhow::Result;

use crate::steps::{Steps, Verdict, cargo, find_program, run};
use crate::{layers, prerequisites, suite};

/// Runs every step, stops at the first that fails, and ends with a summary.
pub(crate) fn run_all() -> Result<()> {
    prerequisites::compilers()?;
    let mut steps = Steps::default();
    steps.run("formatting", || passed(run(cargo().args(["fmt", "--all", "--check"]))))?;
    steps.run("layers and house rules", || passed(layers::check()))?;
    steps.run("lints", || passed(lints()))?;
    steps.run("documentation", || passed(documentation()))?;
    steps.run("licences and bans", licences)?;
    steps.run("tests", || passed(suite::run_tests(&[])))?;
    steps.summarise();
    Ok(())
}

fn passed(outcome: Result<()>) -> Result<Verdict> {
    outcome.map(|()| Verdict::Passed)
}

fn lints() -> Result<()> {
    let args = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run(cargo().args(args))
}

fn documentation() -> Result<()> {
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

fn licences() -> Result<Verdict> {
    if find_program("cargo-deny").is_none() {
        println!("skipped: cargo-deny is not installed (cargo install --locked cargo-deny)");
        return Ok(Verdict::Skipped);
    }
    // Advisories need a database from the network; licences, bans and sources do not.
    passed(run(cargo().args(["deny", "--all-features", "check", "licenses", "bans", "sources"])))
}
