//! Development tasks: `cargo xtask demo | test | bench | ci | layers`.
//!
//! The gate, the tests and the demonstration run the same way on every machine, and each says
//! what it is about to add to the machine before it adds it.

mod bench;
mod ci;
mod demo;
mod layers;
mod prerequisites;
mod steps;
mod suite;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks for Wharf.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build Wharf, run a container with a published port, and fetch a page through it.
    Demo {
        /// Take away all that the demonstration made.
        #[arg(long, conflicts_with = "isolated")]
        down: bool,
        /// Use a host made of network namespaces instead of this machine, and leave nothing.
        #[arg(long)]
        isolated: bool,
    },
    /// Install what the tests need, then run them with cargo-nextest.
    Test {
        /// Run the tests that depend most on the kernel on that of Debian 12, in QEMU without
        /// hardware help (minutes): the eBPF, nft and relay planes, and the program once. Takes
        /// `-p PACKAGE` and words of tests' names.
        #[arg(long)]
        vm: bool,
        /// Passed on to `cargo nextest run`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure a part of Wharf beside others that do the same.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// One end of a measurement; `bench` starts both.
    #[command(subcommand, hide = true)]
    BenchAgent(bench::Agent),
    /// Run the whole program once, with a container that is reached on every plane.
    #[command(hide = true)]
    VmCheck {
        /// The program.
        program: PathBuf,
    },
    /// The gate: formatting, layers, lints, documentation, licences, tests.
    Ci,
    /// Check the arrows between crates and the house rules that no compiler checks.
    Layers,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo { down: true, .. } => demo::down(),
        Task::Demo { isolated: true, .. } => demo::isolated(),
        Task::Demo { .. } => demo::up(),
        Task::Test { vm: true, args } => vm::run_tests(&args),
        Task::Test { vm: false, args } => suite::run_tests(&args),
        Task::Bench(bench) => bench::run(&bench),
        Task::BenchAgent(agent) => bench::run_agent(&agent),
        Task::VmCheck { program } => vm::check_program(&program),
        Task::Ci => ci::run_all(),
        Task::Layers => layers::check(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
