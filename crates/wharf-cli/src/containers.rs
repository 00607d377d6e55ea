//! Verbs that act on containers that exist.

use std::process::ExitCode;
use std::time::Duration;

use wharf_api::client::{ClientError, Part};
use wharf_api::{ErrorCode, Shutdown, ShutdownRequest, Started, Waited};

use crate::args::{KillArgs, RmArgs, ShutdownArgs, StartArgs, StopArgs, WaitArgs};
use crate::attach::{self, DetachKeys};
use crate::connect::Session;
use crate::create::warn;
use crate::failure::{Exit, Outcome, for_each, print_line};

/// A daemon that was told to stop has only to finish what it is doing.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// `wharf start`.
pub(crate) async fn start(session: &Session, args: StartArgs) -> Outcome {
    if args.attach || args.interactive {
        let keys = DetachKeys::parse(args.attaching.detach_keys.as_deref())?;
        let [one] = args.containers.as_slice() else {
            return Err(Exit::failed(
                "you cannot start and attach multiple containers at once: start the others without -a and -i",
            ));
        };
        let sig_proxy = args.attaching.sig_proxy;
        return attach::start_existing(session, one, args.interactive, keys, sig_proxy).await;
    }
    for_each(&args.containers, |name| async move {
        let path = format!("/v1/containers/{}/start", Part(&name));
        let started: Started = session.post(&path, &()).await?;
        warn(&started.warnings);
        Ok(name)
    })
    .await
}

/// `wharf stop`.
pub(crate) async fn stop(session: &Session, args: StopArgs) -> Outcome {
    for_each(&args.containers, |name| async move {
        let path = format!("/v1/containers/{}/stop{}", Part(&name), time(args.time));
        let _stopped: serde_json::Value = session.post(&path, &()).await?;
        Ok(name)
    })
    .await
}

/// `wharf restart`.
pub(crate) async fn restart(session: &Session, args: StopArgs) -> Outcome {
    for_each(&args.containers, |name| async move {
        let path = format!("/v1/containers/{}/restart{}", Part(&name), time(args.time));
        let started: Started = session.post(&path, &()).await?;
        warn(&started.warnings);
        Ok(name)
    })
    .await
}

fn time(seconds: Option<u32>) -> String {
    seconds.map(|seconds| format!("?time={seconds}")).unwrap_or_default()
}

/// `wharf kill`.
pub(crate) async fn kill(session: &Session, args: KillArgs) -> Outcome {
    let signal = &args.signal;
    for_each(&args.containers, |name| async move {
        let path = format!("/v1/containers/{}/kill?signal={}", Part(&name), Part(signal));
        let _killed: serde_json::Value = session.post(&path, &()).await?;
        Ok(name)
    })
    .await
}

/// `wharf rm`.
pub(crate) async fn rm(session: &Session, args: RmArgs) -> Outcome {
    let (force, volumes) = (args.force, args.volumes);
    for_each(&args.containers, |name| async move {
        let path = format!("/v1/containers/{}?force={force}&volumes={volumes}", Part(&name));
        match session.delete::<serde_json::Value>(&path).await {
            Ok(_) => Ok(name),
            Err(ClientError::Api(e)) if force && e.code == ErrorCode::NotFound => {
                eprintln!("wharf: {e}");
                Ok(String::new())
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// `wharf wait`.
pub(crate) async fn wait(session: &Session, args: WaitArgs) -> Outcome {
    for_each(&args.containers, |name| async move {
        loop {
            let path = format!("/v1/containers/{}/wait", Part(&name));
            let waited: Waited = session.post(&path, &()).await?;
            if let Some(code) = waited.exit_code {
                return Ok(code.to_string());
            }
        }
    })
    .await
}

/// `wharf shutdown`.
pub(crate) async fn shutdown(session: &Session, args: ShutdownArgs) -> Outcome {
    let request = ShutdownRequest { all: args.all };
    let answer: Result<Shutdown, _> = if args.all {
        // Containers may run without a daemon; removing them takes one.
        session.post("/v1/shutdown", &request).await
    } else {
        session.client().post("/v1/shutdown", &request).await
    };
    let stopping = match answer {
        Err(ClientError::Connect { .. }) => {
            eprintln!("wharf: no daemon is running here");
            return Ok(ExitCode::SUCCESS);
        }
        other => other?,
    };
    let pid = stopping.pid;
    let ended = tokio::task::spawn_blocking(move || wharf_daemon::start::wait_end(pid, STOP_LIMIT));
    if !ended.await.unwrap_or(false) {
        return Err(Exit::failed(format!(
            "the daemon (pid {pid}) has not stopped within {} s; see {}",
            STOP_LIMIT.as_secs(),
            session.paths.daemon_log().display()
        )));
    }
    if stopping.running > 0 {
        print_line(&format!(
            "the daemon has stopped; {} container(s) and their ports go on",
            stopping.running
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
