//! Killing and calling processes, and what else goes wrong on the host.
//!
//! The program leaves alone for longer and longer what others change again and again, and does not
//! start a relay that keeps dying faster and faster. That is not what is looked at here, so such
//! faults keep a distance in time; the order of operations is not touched by it.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use wharf_host::link::Links;
use wharf_host::route::Routes;
use wharf_host::transparent::MARK;
use wharf_lab::{Output, wait};
use wharf_relay::RelayClient;

use super::fault::{FLUSH, Fault};
use super::kernel::nft;
use super::operation::Operation;
use super::site::{LIMIT, Outcome, Site};

/// Ten repairs of one kind in ten seconds would count as a fight.
const BETWEEN_FAULTS: Duration = Duration::from_millis(1_100);
/// A relay that lives for less than five seconds has the next one wait for twice as long.
const LONG_LIFE: Duration = Duration::from_millis(5_100);
const SHORT_LIVES: u32 = 4;
/// How long a killed daemon may take to let go of our table.
const OWNER_LEAVES: Duration = Duration::from_secs(2);

/// When things went wrong the last time.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    last: HashMap<&'static str, Instant>,
    short_lives: u32,
}

// === impl Deaths ===

impl Deaths {
    fn keep_distance(&mut self, kind: &'static str, distance: Duration) {
        if let Some(last) = self.last.get(kind) {
            thread::sleep(distance.saturating_sub(last.elapsed()));
        }
        self.last.insert(kind, Instant::now());
    }

    fn of_relay(&mut self) {
        let young = self.last.get("relay").is_some_and(|last| last.elapsed() < LONG_LIFE);
        self.short_lives = if young { self.short_lives + 1 } else { 0 };
        let tired = self.short_lives > SHORT_LIVES;
        self.keep_distance("relay", if tired { LONG_LIFE } else { Duration::ZERO });
        self.short_lives = if tired { 0 } else { self.short_lives };
    }

    /// A new daemon knows of no earlier deaths.
    fn forget(&mut self) {
        *self = Self::default();
    }
}

// === impl Site ===

impl Site {
    /// Has the next call start a daemon, as people's do.
    pub(super) fn call_daemon(&mut self) {
        self.wharf.ok(["ps"]);
        let version = self.get("/v1/version").unwrap();
        self.daemon = u32::try_from(version["pid"].as_u64().unwrap()).unwrap();
        self.deaths.forget();
    }

    fn kill_daemon(&self) {
        kill(self.daemon);
    }

    /// The relay there is now.
    pub(super) fn relay(&mut self) -> Option<&mut RelayClient> {
        let gone = self.relay.as_ref().is_some_and(|relay| is_gone(relay.pid()));
        if gone || self.relay.is_none() {
            let socket = wharf_relay::socket_path(&self.wharf.run_dir());
            self.relay = RelayClient::connect(&socket).ok();
        }
        self.relay.as_mut()
    }

    /// Does what a fault says; `owned` is whether our table can belong to us.
    pub(super) fn suffer(&mut self, fault: &Fault, owned: bool) -> Result<(), String> {
        match fault {
            Fault::Daemon(meanwhile) => {
                self.kill_daemon();
                // Nobody owns the table now.
                meanwhile.iter().try_for_each(|fault| self.suffer(fault, false))?;
                self.call_daemon();
                Ok(())
            }
            Fault::Nft(command) => self.change_table(command, owned),
            Fault::ForeignTable => self.foreign_table(),
            Fault::Relay => {
                if let Some(pid) = self.relay().map(|relay| relay.pid()) {
                    self.deaths.of_relay();
                    kill(pid);
                }
                Ok(())
            }
            Fault::Bridge(place) => self.delete_bridge(*place),
            Fault::Rules => self.delete_rules(),
        }
    }

    fn change_table(&mut self, command: &str, owned: bool) -> Result<(), String> {
        if !owned {
            self.deaths.keep_distance("table", BETWEEN_FAULTS);
        }
        let mut output = self.host.output(nft(command.split(' ')), LIMIT).map_err(told)?;
        let refused = |output: &Output| output.stderr.contains("Operation not permitted");
        // The last thread of a killed daemon takes a moment to close its files.
        let patient = Instant::now() + OWNER_LEAVES;
        while !owned && refused(&output) && Instant::now() < patient {
            thread::sleep(Duration::from_millis(10));
            output = self.host.output(nft(command.split(' ')), LIMIT).map_err(told)?;
        }
        let refused = refused(&output);
        match owned && command != FLUSH {
            true if !refused => Err(format!("others may change our table: {output:?}")),
            // What somebody deleted before is not there to be deleted again.
            false if refused => Err(format!("nobody owns the table: {output:?}")),
            _ => Ok(()),
        }
    }

    fn foreign_table(&mut self) -> Result<(), String> {
        self.deaths.keep_distance("table", BETWEEN_FAULTS);
        let chain = "add chain inet others input { type filter hook input priority 0 ; }";
        for command in ["add table inet others", chain] {
            let output = self.host.output(nft(command.split(' ')), LIMIT).map_err(told)?;
            if !output.is_success() {
                return Err(format!("{output:?}"));
            }
        }
        Ok(())
    }

    /// Takes away what others have made; there may be nothing.
    pub(super) fn without_others(&self) {
        let gone = self.host.output(nft("delete table inet others".split(' ')), LIMIT);
        gone.unwrap();
    }

    fn delete_bridge(&mut self, place: usize) -> Result<(), String> {
        self.deaths.keep_distance("bridge", BETWEEN_FAULTS);
        let mut links = Links::open_in(self.host.netns()).map_err(told)?;
        links.delete(&self.bridges[place]).map(drop).map_err(told)
    }

    fn delete_rules(&mut self) -> Result<(), String> {
        self.deaths.keep_distance("rules", BETWEEN_FAULTS);
        let mut routes = Routes::open_in(self.host.netns()).map_err(told)?;
        let ours = routes.rules().map_err(told)?;
        for rule in ours.iter().filter(|rule| rule.mark == MARK.value) {
            routes.delete_rule(rule).map_err(told)?;
        }
        Ok(())
    }

    /// Kills the daemon while it carries out a request; answers what whoever asked was told.
    pub(super) fn tear(
        &mut self,
        torn: &Operation,
        after: Duration,
        model: &super::model::Model,
    ) -> Outcome {
        let outcome = thread::scope(|scope| {
            let asking = scope.spawn(|| self.request(torn, model));
            thread::sleep(after);
            self.kill_daemon();
            asking.join().unwrap()
        });
        self.call_daemon();
        outcome
    }
}

fn told(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

fn kill(pid: u32) {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // It may have ended by itself.
    let _gone = kill_process(process, Signal::KILL);
    wait::until(LIMIT, "the end of the killed", || is_gone(pid).then_some(())).unwrap();
}

/// Whether a process has ended; one that nobody has reaped yet has no command line any more.
fn is_gone(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |text| text.is_empty())
}

/// How many descriptors a process has.
pub(super) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
