//! The health of running containers: a command run in each of them from time to time.
//!
//! What is known is kept in memory only: a daemon that has just started finds out anew, as Docker's
//! does.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::Semaphore;
use wharf_api::options::HealthCheck;
use wharf_runtime::client::exec_command;
use wharf_runtime::exit;
use wharf_runtime::health::{HealthSpec, SaidHealth};
use wharf_runtime::spec::ExecSpec;

use crate::clock;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::logs::Ending;
use crate::record::ContainerRecord;

mod state;

pub(crate) use state::{Health, Probe, Status};

/// Each check is a process that joins a container; more at a time only get into each other's way.
static AT_A_TIME: Semaphore = Semaphore::const_new(16);
/// What is kept of a check's output, as in Docker.
const OUTPUT_LIMIT: u64 = 4096;
/// A killed process is gone at once unless the kernel holds it.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// While a check runs, whether its container still does is looked at this often.
const LOOK: Duration = Duration::from_millis(100);

/// The health of every container that runs and has a check.
#[derive(Debug, Default)]
pub(crate) struct Healths(Mutex<HashMap<String, Health>>);

// === impl Healths ===

impl Healths {
    pub(crate) fn of(&self, id: &str) -> Option<Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn change<T>(&self, id: &str, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut healths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(healths.entry(id.to_owned()).or_default())
    }

    fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// Refuses a check that cannot be.
pub(crate) fn check(asked: &HealthCheck) -> Result<()> {
    Ok(wharf_runtime::health::check(&said(asked))?)
}

/// The check of a container of an image that says `of_image`.
pub(crate) fn merge(of_image: &SaidHealth, asked: &HealthCheck) -> Result<Option<HealthSpec>> {
    Ok(HealthSpec::merge(of_image, &said(asked))?)
}

fn said(asked: &HealthCheck) -> SaidHealth {
    let time = |milliseconds: Option<u64>| milliseconds.map(Duration::from_millis);
    SaidHealth {
        test: asked.test.clone(),
        interval: time(asked.interval_ms),
        timeout: time(asked.timeout_ms),
        start_period: time(asked.start_period_ms),
        start_interval: time(asked.start_interval_ms),
        retries: asked.retries,
    }
}

/// Checks a running container until it ends; one without a check is left alone.
pub(crate) fn watch(daemon: &Arc<Daemon>, record: &ContainerRecord) {
    let Some(spec) = record.health.clone() else { return };
    let (Ok(runtime), Ok(ending)) =
        (tokio::runtime::Handle::try_current(), daemon.ending(&record.id))
    else {
        return;
    };
    daemon.healths.change(&record.id, |health| *health = Health::default());
    let watching = Watching {
        daemon: Arc::clone(daemon),
        id: record.id.clone(),
        name: record.name.clone(),
        since: Instant::now(),
        spec,
    };
    runtime.spawn(watching.run(ending));
}

/// One container that is being checked.
struct Watching {
    daemon: Arc<Daemon>,
    id: String,
    name: String,
    since: Instant,
    spec: HealthSpec,
}

// === impl Watching ===

impl Watching {
    async fn run(self, mut ending: Ending) {
        let ended = async {
            let _ended_or_forgotten = ending.wait_for(Option::is_some).await;
        };
        tokio::pin!(ended);
        loop {
            let status = self.daemon.healths.of(&self.id).map(|health| health.status);
            let pause = state::pause(&self.spec, status.unwrap_or_default(), self.since.elapsed());
            tokio::select! {
                () = &mut ended => break,
                () = tokio::time::sleep(pause) => {}
            }
            // What stands still is neither well nor unwell.
            if self.stands_still() {
                continue;
            }
            tokio::select! {
                () = &mut ended => break,
                () = self.pause() => {}
                probe = self.probe() => self.note(probe),
            }
        }
        self.daemon.healths.forget(&self.id);
    }

    fn stands_still(&self) -> bool {
        self.daemon.ledger.container(&self.id).is_ok_and(|record| record.paused)
    }

    /// Waits until the container stands still: its check does as well, and says nothing.
    async fn pause(&self) {
        while !self.stands_still() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn note(&self, probe: Probe) {
        let (spec, age) = (&self.spec, self.since.elapsed());
        let changed = self.daemon.healths.change(&self.id, |health| health.note(spec, age, probe));
        if let Some(status) = changed {
            let action = format!("health_status: {status}");
            self.daemon.events.tell("container", &action, &self.id, Some(&self.name));
        }
    }

    async fn probe(&self) -> Probe {
        let _turn = AT_A_TIME.acquire().await;
        let started = clock::now();
        let (code, output) = match self.command().await {
            Ok(command) => outcome(command, self.spec.timeout).await,
            Err(error) => (state::NOT_RUN, error.to_string()),
        };
        Probe { started, ended: clock::now(), code, output }
    }

    async fn command(&self) -> Result<Command> {
        let exec =
            ExecSpec { args: self.spec.command(), ends_with_parent: true, ..ExecSpec::default() };
        let dir = self.daemon.paths.shim(&self.id);
        let describe = move || exec_command(&wharf_host::process::current_exe(), &dir, &exec);
        let described = tokio::task::spawn_blocking(describe).await;
        let described = described.map_err(|e| Error::io("describe a health check")(e.into()))?;
        let mut command = Command::from(described?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Whoever stops waiting for it, because the container has ended, ends it.
        command.kill_on_drop(true);
        Ok(command)
    }
}

/// Runs a check to its end, or to the end of its time.
async fn outcome(mut command: Command, limit: Duration) -> (i32, String) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return (state::NOT_RUN, Error::io("start a health check")(error).to_string());
        }
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let whole = async {
        let (out, err) = tokio::join!(read(stdout), read(stderr));
        (child.wait().await, out + &err)
    };
    match tokio::time::timeout(limit, whole).await {
        Ok((Ok(status), output)) => (exit::code(status), output),
        Ok((Err(error), _)) => (state::NOT_RUN, format!("waiting for the check: {error}")),
        Err(_) => {
            let _ended = tokio::time::timeout(KILL_LIMIT, child.kill()).await;
            (state::NOT_RUN, format!("Health check exceeded timeout ({limit:?})"))
        }
    }
}

/// The beginning of a check's output; the rest is read away, so that it does not stand still.
async fn read(output: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut output) = output else { return String::new() };
    let mut bytes = Vec::new();
    let _as_far_as_it_goes = (&mut output).take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
    let _nobody_reads = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
