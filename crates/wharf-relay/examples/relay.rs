//! A relay without the rest of Wharf: takes the arguments of `wharf relay`. With the argument
//! `opener` it is the helper that opens sockets in other network namespaces.
//!
//! The tests start it, because a process that confines itself must have one thread, which a test
//! has not.

use std::path::PathBuf;
use std::process::ExitCode;

use wharf_relay::{RelayConfig, run};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "opener") {
        return told(wharf_host::opener::serve(std::io::stdin()));
    }
    let after = |name: &str| {
        let place = args.iter().position(|arg| arg == name)?;
        args.get(place + 1)
    };
    let Some(run_dir) = after("--run-dir").map(PathBuf::from) else {
        eprintln!("usage: relay --run-dir DIR [--take-over SECONDS]");
        return ExitCode::FAILURE;
    };
    let take_over = after("--take-over").and_then(|seconds| seconds.parse().ok());
    told(run(RelayConfig { take_over, ..RelayConfig::new(run_dir) }))
}

fn told<E: std::fmt::Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
