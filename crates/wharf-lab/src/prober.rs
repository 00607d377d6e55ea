//! A client that never stops asking, and keeps a record of who answered, when, and what failed.
//!
//! It is open-loop: a new connection begins when its time has come, whether or not those before it
//! are answered, so a server that stalls meets all the clients it would meet elsewhere.
//!
//! ```ignore
//! let prober = scene.remote.probe("tcp", "10.1.0.2:8080", 200)?;
//! scene.wharf.kill9("daemon")?;
//! let seen = prober.stop()?;
//! assert!(seen.is_flawless(), "{seen}");
//! ```

mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::Timespec;

use crate::host::Host;
use crate::wait;

/// A prober that nobody stops ends by itself; no test is this long.
const RUN_LIMIT: Duration = Duration::from_secs(300);

/// What is kept of failures and of turns: enough to see a pattern, little enough to print.
const RECORD_LIMIT: usize = 1_000;

/// The most a core that is busy with the program itself has room for.
const RATE_LIMIT: u32 = 1_000;

/// How long a stop may go unnoticed.
const TICK: Duration = Duration::from_millis(20);

/// A client on a thread of its own; dropping it stops it.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What a prober has seen.
#[derive(Debug, Clone, Default)]
pub struct Probed {
    /// Connections begun, or datagrams sent.
    pub attempts: u64,
    /// Answers taken whole.
    pub answered: u64,
    /// Attempts that failed. Of datagrams only those that the kernel reported: one that is lost is
    /// merely not answered.
    pub failed: u64,
    /// The first thousand of the failures.
    pub failures: Vec<Failure>,
    /// The longest time between two answers that follow each other.
    pub longest_gap: Duration,
    /// The longest time from the beginning of a connection to its whole answer; zero for datagrams.
    pub slowest: Duration,
    /// Who answered, a new entry for each change; the first thousand.
    pub turns: Vec<Turn>,
}

/// One attempt that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// When it had failed.
    pub at: Instant,
    /// How: the words of the operating system, or what was missing in the answer.
    pub reason: String,
}

/// Answers that follow each other and come from the same server.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The host name that the server tells.
    pub server: String,
    /// When the first of them came.
    pub first: Instant,
    /// When the last of them came.
    pub last: Instant,
    /// How many there were.
    pub answers: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Probed>,
}

/// Says when the next attempt is due.
struct Pace {
    interval: Duration,
    next: Instant,
    end: Instant,
}

// === impl Host ===

impl Host {
    /// Asks the teller or `wharf/whoami` at `address` `rate` times a second (1 to 1000) until the
    /// prober is stopped, five minutes at most. `tcp` makes a connection for each question; `udp`
    /// sends every datagram from one socket, which makes them one flow.
    ///
    /// # Errors
    /// When `address` is none or there is no thread to be had.
    pub fn probe(&self, proto: &str, address: &str, rate: u32) -> Result<Prober> {
        let to: SocketAddr = address.parse().with_context(|| format!("probe {address}"))?;
        ensure!((1..=RATE_LIMIT).contains(&rate), "{rate} is not between 1 and {RATE_LIMIT}");
        let (shared, host) = (Arc::new(Shared::default()), self.clone());
        let (its, interval, is_udp) =
            (Arc::clone(&shared), Duration::from_secs(1) / rate, proto == "udp");
        let work = move || {
            let pace = Pace::new(interval);
            if is_udp { udp::probe(to, pace, &its) } else { tcp::probe(to, pace, &its) }
        };
        let thread = thread::Builder::new().name("prober".into());
        let thread = thread.spawn(move || host.run(work)?).context("start a prober")?;
        Ok(Prober { shared, thread: Some(thread) })
    }
}

// === impl Prober ===

impl Prober {
    /// What it has seen until now.
    pub fn so_far(&self) -> Probed {
        self.shared.seen().clone()
    }

    /// Waits until as many `more` answers have come.
    ///
    /// # Errors
    /// When they do not come within `limit`; the error says what came.
    pub fn answers(&self, more: u64, limit: Duration) -> Result<()> {
        let before = self.shared.seen().answered;
        let what = format!("{more} more answers");
        let found = wait::until(limit, &what, || {
            (self.shared.seen().answered >= before + more).then_some(())
        });
        found.with_context(|| self.so_far().to_string())
    }

    /// Waits until `server` is the one who answers; returns when its first answer came.
    ///
    /// # Errors
    /// When it does not within `limit`; the error says who did.
    pub fn reaches(&self, server: &str, limit: Duration) -> Result<Instant> {
        let what = format!("an answer from {server}");
        let found = wait::until(limit, &what, || {
            self.shared.seen().turns.last().filter(|it| it.server == server).map(|it| it.first)
        });
        found.with_context(|| self.so_far().to_string())
    }

    /// Begins nothing more, waits for what is under way, and returns what was seen.
    ///
    /// # Errors
    /// When it could not be at work at all.
    pub fn stop(mut self) -> Result<Probed> {
        self.end()?;
        Ok(self.so_far())
    }

    fn end(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the prober panicked")))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // Whoever wants to know has called `stop`.
        let _ended = self.end();
    }
}

// === impl Probed ===

impl Probed {
    /// Whether something was answered and nothing failed.
    pub fn is_flawless(&self) -> bool {
        self.answered > 0 && self.failed == 0
    }

    /// How long after `moment` the first answer of `server` came; nothing when it was `server` who
    /// answered already.
    pub fn reached(&self, server: &str, moment: Instant) -> Option<Duration> {
        let later = self.turns.iter().find(|it| it.server == server && it.last >= moment);
        // It may be the last one, and have had no time to answer again.
        let turn = later.or_else(|| self.turns.last().filter(|it| it.server == server))?;
        Some(turn.first.saturating_duration_since(moment))
    }

    /// The servers in the order in which they answered; one that came back is there twice.
    pub fn servers(&self) -> Vec<&str> {
        self.turns.iter().map(|turn| turn.server.as_str()).collect()
    }

    fn answer(&mut self, server: &str) {
        let now = Instant::now();
        if let Some(turn) = self.turns.last() {
            self.longest_gap = self.longest_gap.max(now - turn.last);
        }
        self.answered += 1;
        let has_room = self.turns.len() < RECORD_LIMIT;
        match self.turns.last_mut() {
            Some(turn) if turn.server == server => {
                turn.last = now;
                turn.answers += 1;
            }
            _ if has_room => {
                let server = server.to_owned();
                self.turns.push(Turn { server, first: now, last: now, answers: 1 });
            }
            _ => {}
        }
    }

    fn fail(&mut self, reason: String) {
        self.failed += 1;
        if self.failures.len() < RECORD_LIMIT {
            self.failures.push(Failure { at: Instant::now(), reason });
        }
    }
}

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, answered, failed, longest_gap, slowest, .. } = self;
        write!(f, "{answered} of {attempts} answered, {failed} failed; ")?;
        write!(f, "longest gap {longest_gap:?}, slowest {slowest:?}")?;
        let Some(began) = self.turns.first().map(|turn| turn.first) else { return Ok(()) };
        for Turn { server, first, last, answers } in &self.turns {
            let (first, last) = (*first - began, *last - began);
            write!(f, "\n  {first:?} to {last:?}: {answers} by {server:?}")?;
        }
        for Failure { at, reason } in self.failures.iter().take(10) {
            write!(f, "\n  {:?}: {reason}", at.saturating_duration_since(began))?;
        }
        Ok(())
    }
}

// === impl Shared ===

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Probed> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pace ===

impl Pace {
    fn new(interval: Duration) -> Self {
        let next = Instant::now();
        Self { interval, next, end: next + RUN_LIMIT }
    }

    fn is_over(&self, shared: &Shared) -> bool {
        shared.stop.load(Ordering::Relaxed) || Instant::now() >= self.end
    }

    /// Whether it is time; the time after that is counted from here. Beats that were missed while
    /// the machine did something else stay missed, for a burst would be another measurement.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.next <= now;
        if due {
            self.next = (self.next + self.interval).max(now);
        }
        due
    }

    /// How long to wait for events.
    fn pause(&self) -> Timespec {
        let left = self.next.saturating_duration_since(Instant::now()).min(TICK);
        Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() }
    }
}
