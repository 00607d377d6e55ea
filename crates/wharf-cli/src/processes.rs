//! The processes of ours: daemon, relay, shim, the built-in web server.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use wharf_daemon::paths::Paths;

use crate::args::{DaemonArgs, DirArgs, RelayArgs, ShimExecArgs, WhoamiArgs};
use crate::failure::{Exit, Outcome};

/// `wharf daemon`.
pub(crate) fn daemon(args: &DaemonArgs) -> Outcome {
    log_to_stderr();
    let paths = Paths::from_env();
    let config = wharf_daemon::Config::new(paths.clone(), &args.pools).map_err(|e| {
        wharf_daemon::start::leave_word(&paths, &e.to_string());
        Exit::failed(e.to_string())
    })?;
    wharf_daemon::run(config).map_err(|e| Exit::failed(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf relay`.
pub(crate) fn relay(args: RelayArgs) -> Outcome {
    log_to_stderr();
    let run_dir = args.run_dir.unwrap_or_else(|| Paths::from_env().run_dir().to_owned());
    wharf_relay::run(wharf_relay::RelayConfig::new(run_dir))
        .map_err(|e| Exit::failed(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf shim`.
pub(crate) fn shim(args: &DirArgs) -> Outcome {
    Ok(code(wharf_runtime::shim::run_shim(&args.dir)))
}

/// `wharf shim-exec`.
pub(crate) fn shim_exec(args: &ShimExecArgs) -> Outcome {
    Ok(code(wharf_runtime::shim::run_exec(&args.dir, &args.spec)))
}

/// `wharf whoami`.
pub(crate) fn whoami(args: &WhoamiArgs) -> Outcome {
    Ok(code(wharf_runtime::whoami::run(&args.rest)))
}

fn code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

/// Logs are events for whoever keeps stderr: the journal, a file, a terminal.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("WHARF_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second subscriber in one process would be a mistake of ours, and harmless.
    let _set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
