//! The processes of ours: daemon, relay, shim, the built-in web server.

use std::path::Path;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use wharf_daemon::paths::Paths;
use wharf_relay::RelayConfig;

use crate::args::{DaemonArgs, DirArgs, RelayAction, RelayArgs, ShimExecArgs, WhoamiArgs};
use crate::failure::{Exit, Outcome};

/// `wharf daemon`.
pub(crate) fn daemon(args: &DaemonArgs) -> Outcome {
    log_to_stderr();
    let paths = Paths::from_env();
    let (connect, idle) = (args.connect_timeout.as_deref(), args.idle_timeout.as_deref());
    let (docker, podman) = (args.docker_socket.clone(), args.podman_socket.clone());
    let config = wharf_daemon::Config::new(paths.clone(), &args.pools)
        .map(|config| config.with_engines(docker, podman))
        .map(|config| if args.shared_table { config.with_shared_table() } else { config })
        .map(|config| if args.no_ebpf { config.without_ebpf() } else { config })
        .map(|config| config.with_resolv_conf(args.resolv_conf.clone()))
        .map(|config| config.with_steering(args.steer_from));
    let config = config
        .and_then(|config| config.with_relay_limits(connect, idle))
        .and_then(|config| config.with_insecure_registries(&args.insecure_registries))
        .map_err(|e| {
            wharf_daemon::start::leave_word(&paths, &e.to_string());
            Exit::failed(e.to_string())
        })?;
    wharf_daemon::run(config).map_err(|e| Exit::failed(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf relay`.
pub(crate) fn relay(args: RelayArgs) -> Outcome {
    let run_dir = args.run_dir.unwrap_or_else(|| Paths::from_env().run_dir().to_owned());
    if let Some(RelayAction::Upgrade { drain_seconds }) = args.action {
        if args.take_over.is_some() {
            let text = "--take-over starts a relay and goes without `upgrade`, which uses it";
            return Err(Exit::failed(text.to_owned()));
        }
        return upgrade_relay(&run_dir, drain_seconds);
    }
    log_to_stderr();
    let config = RelayConfig { take_over: args.take_over, ..RelayConfig::new(run_dir) };
    wharf_relay::run(config).map_err(|e| Exit::failed(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf relay upgrade`.
fn upgrade_relay(run_dir: &Path, drain_seconds: u32) -> Outcome {
    let relay = wharf_relay::upgrade(run_dir, None, drain_seconds)
        .map_err(|e| Exit::failed(e.to_string()))?;
    println!("relay {} serves (pid {})", relay.release(), relay.pid());
    Ok(ExitCode::SUCCESS)
}

/// `wharf relay-opener`.
pub(crate) fn relay_opener() -> Outcome {
    log_to_stderr();
    wharf_relay::serve_opener().map_err(|e| Exit::failed(e.to_string()))?;
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

/// `wharf shim-copy`.
pub(crate) fn shim_copy(args: &ShimExecArgs) -> Outcome {
    Ok(code(wharf_runtime::copy::run_copy(&args.dir, &args.spec)))
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
        // It would tell of a line that it cannot write by `eprintln!`, to the same full disk, which
        // panics: whoever had something to say would end.
        .log_internal_errors(false)
        .with_ansi(false)
        .try_init();
}
