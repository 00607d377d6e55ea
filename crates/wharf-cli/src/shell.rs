//! Completions and man pages, from the same definitions as `--help`.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::{Cli, CompletionArgs, ManArgs};
use crate::failure::{Exit, Outcome};

/// `wharf completion`.
pub(crate) fn completion(args: &CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wharf", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf man`.
pub(crate) fn man(args: &ManArgs) -> Outcome {
    let failed = |e: std::io::Error| {
        Exit::failed(format!("cannot write man pages into {}: {e}", args.directory.display()))
    };
    std::fs::create_dir_all(&args.directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.directory).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}
