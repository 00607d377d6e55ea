//! Restarts by policy: who is started again after its end, when, and what a new daemon owes.
//!
//! That a restart is due is written down together with the end it answers, so that neither a killed
//! daemon nor a reboot forgets one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use wharf_runtime::signal::{self, Signal};
use wharf_spec::RestartPolicy;
use wharf_spec::restart::{STEADY, pause};

use crate::clock;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::{ContainerRecord, ExitRecord, Phase};
use crate::starting::Cause;

/// After a reboot everything is due at once; more starts at a time than these finish no sooner.
static AT_A_TIME: Semaphore = Semaphore::const_new(4);
/// What a start that failed counts as: no program ran, so none has ended well.
const NOT_STARTED: i32 = 128;

/// How the restarts of a container stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Restarts {
    /// How many there were since it was last started by hand.
    pub count: u32,
    /// How often in a row its program ended before it had run for a while.
    pub quick_ends: u32,
    /// It was stopped by hand and has not been started since.
    pub stopped_by_hand: bool,
    /// It is to be started again once the pause is over.
    pub due: bool,
}

// === impl Restarts ===

impl Restarts {
    /// What they are once a start has begun.
    pub(crate) fn begin(&mut self, cause: Cause) {
        match cause {
            Cause::Hand => *self = Self::default(),
            Cause::Policy => {
                self.count = self.count.saturating_add(1);
                self.quick_ends = self.quick_ends.saturating_add(1);
                self.stopped_by_hand = false;
            }
        }
    }

    /// Takes note of an end; whether it is to be started again is then in `due`.
    pub(crate) fn note_end(&mut self, policy: RestartPolicy, ran: Duration, exit: &ExitRecord) {
        if ran >= STEADY {
            self.quick_ends = 0;
        }
        self.due = !self.stopped_by_hand && policy.answers_end(exit.code, self.count);
    }
}

// === impl ContainerRecord ===

impl ContainerRecord {
    /// What was asked for with `--restart`; it was checked when the container was made.
    pub(crate) fn restart_policy(&self) -> RestartPolicy {
        let text = self.request.supervision.restart.as_deref();
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Whether a program of it is about to be started by its policy.
    pub(crate) fn is_restarting(&self) -> bool {
        let at_rest = matches!(self.phase, Phase::Exited | Phase::Created | Phase::Starting);
        self.restarts.due && at_rest
    }
}

// === impl Daemon ===

impl Daemon {
    /// Remembers that somebody ends a container on purpose, so that its policy does not undo it.
    pub(crate) fn note_stopped_by_hand(&self, id: &str) -> Result<()> {
        let record = self.ledger.container(id)?;
        if record.restart_policy() == RestartPolicy::No {
            return Ok(());
        }
        self.ledger.update_container(id, |record| {
            record.restarts.stopped_by_hand = true;
            record.restarts.due = false;
        })?;
        Ok(())
    }

    /// Whether `asked` is meant to end the container, as Docker sees it.
    pub(crate) fn is_meant_to_end(record: &ContainerRecord, asked: Signal) -> bool {
        let own = record.spec.stop_signal.as_deref().and_then(|text| signal::parse(text).ok());
        asked == Signal::KILL || asked == own.unwrap_or(Signal::TERM)
    }

    /// Starts a container again that is due, after its pause.
    pub(crate) fn schedule_restart(self: &Arc<Self>, record: &ContainerRecord) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (daemon, id) = (Arc::clone(self), record.id.clone());
        let pause = pause(record.restarts.quick_ends);
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let _turn = AT_A_TIME.acquire().await;
            if *daemon.closing.borrow() {
                return;
            }
            let restart = move || daemon.in_turn(&id, || daemon.restart_if_due(&id));
            match tokio::task::spawn_blocking(restart).await {
                Ok(Ok(())) | Ok(Err(Error::NotFound { .. })) => {}
                Ok(Err(error)) => tracing::warn!(%error, "restarting a container"),
                Err(error) => tracing::error!(%error, "restarting a container stumbled"),
            }
        });
    }

    fn restart_if_due(self: &Arc<Self>, id: &str) -> Result<()> {
        let record = self.ledger.container(id)?;
        if !record.is_restarting() {
            return Ok(());
        }
        let Err(error) = self.start_in_turn(id, Cause::Policy) else {
            self.metrics.restarts.inc();
            return Ok(());
        };
        let policy = record.restart_policy();
        let record = self.ledger.update_container(id, |record| {
            record.restarts.due = policy.answers_end(NOT_STARTED, record.restarts.count);
        })?;
        if record.restarts.due {
            self.schedule_restart(&record);
        }
        Err(error)
    }

    /// What a daemon that has just started owes a container that does not run.
    pub(crate) fn start_if_owed(self: &Arc<Self>, record: &ContainerRecord) -> Result<()> {
        if record.restarts.due {
            self.schedule_restart(record);
            return Ok(());
        }
        let hand = record.restarts.stopped_by_hand;
        if record.started.is_none() || !record.restart_policy().answers_boot(hand) {
            return Ok(());
        }
        let record = self.ledger.update_container(&record.id, |record| {
            record.restarts = Restarts { due: true, ..Restarts::default() };
        })?;
        self.schedule_restart(&record);
        Ok(())
    }
}

/// How long the program of `record` ran that ended at `exit`.
pub(crate) fn ran_for(record: &ContainerRecord, exit: &ExitRecord) -> Duration {
    let started = record.started.as_deref().unwrap_or(&exit.finished);
    clock::between(started, &exit.finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> ExitRecord {
        ExitRecord { code, finished: clock::now(), oom_killed: false }
    }

    #[test]
    fn an_end_by_hand_is_not_answered() {
        let mut restarts = Restarts { stopped_by_hand: true, ..Restarts::default() };
        restarts.note_end(RestartPolicy::Always, STEADY, &exit(1));
        assert!(!restarts.due);
        restarts.begin(Cause::Hand);
        restarts.note_end(RestartPolicy::Always, STEADY, &exit(0));
        assert!(restarts.due);
    }

    #[test]
    fn who_has_run_for_a_while_starts_with_the_shortest_pause_again() {
        let mut restarts = Restarts::default();
        for _ in 0..5 {
            restarts.note_end(RestartPolicy::Always, Duration::ZERO, &exit(1));
            restarts.begin(Cause::Policy);
        }
        assert_eq!((restarts.count, restarts.quick_ends), (5, 5));
        restarts.note_end(RestartPolicy::Always, STEADY, &exit(1));
        assert_eq!((restarts.count, restarts.quick_ends), (5, 0));
    }

    #[test]
    fn failures_are_answered_so_often_as_was_asked() {
        let policy = RestartPolicy::OnFailure { at_most: Some(2) };
        let mut restarts = Restarts::default();
        let mut starts = 0;
        loop {
            restarts.note_end(policy, Duration::ZERO, &exit(3));
            if !restarts.due {
                break;
            }
            restarts.begin(Cause::Policy);
            starts += 1;
        }
        assert_eq!(starts, 2);
    }
}
