//! An event loop: one thread that accepts, copies and forwards, and never waits for anyone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wharf_spec::Proto;

use crate::context::{Command, Context, Seat};
use crate::poller::{Events, Ready};
use crate::route::{Served, Token};
use crate::table::change::Changed;
use crate::tcp::{Exhausted, Tcp};
use crate::udp::Udp;
use crate::worker::home::Home;
use crate::worker::pace::Pace;
use crate::worker::tokens::Subject;

pub(crate) mod home;
pub(crate) mod pace;
pub(crate) mod tokens;

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Worker {
    context: Arc<Context>,
    seat: usize,
    routes: HashMap<u32, Arc<Served>>,
    /// Listeners left alone for a moment, and until when.
    paused: Vec<(Instant, Token)>,
    tcp: Tcp,
    udp: Udp,
    pace: Pace,
    stopped: bool,
}

// === impl Worker ===

impl Worker {
    pub(crate) fn new(context: &Arc<Context>, seat: usize) -> Self {
        Self {
            tcp: Tcp::new(Arc::clone(context), seat),
            udp: Udp::new(Arc::clone(context), seat),
            pace: Pace::new(context.limits.spin),
            context: Arc::clone(context),
            seat,
            routes: HashMap::new(),
            paused: Vec::new(),
            stopped: false,
        }
    }

    /// Serves until told to stop.
    pub(crate) fn run(mut self) {
        let context = Arc::clone(&self.context);
        let Some(seat) = context.seats.get(self.seat) else { return };
        let mut events = Events::new();
        let mut home = Home::new(self.seat, context.seats.len(), Instant::now());
        while !self.stopped {
            let woken = self.pace.wait(&seat.poller, &mut events, self.limit(), &context.lookers);
            let now = Instant::now();
            let ready = events.take();
            home.note(ready.len(), now);
            seat.stays.store(home.stays() && self.tcp.may_help(), Ordering::Relaxed);
            if woken {
                self.tcp.run_errands();
            }
            self.gather(ready.len() > 1);
            for event in &ready {
                self.dispatch(*event, now);
            }
            self.gather(false);
            if home.stays() {
                self.tcp.hand_on(now);
            }
            self.tcp.deliver();
            self.udp.deliver();
            if home.stays() {
                self.tcp.look(&ready, &mut home, now);
            }
            events.give_back(ready);
            if woken {
                self.obey(seat, now);
            }
            self.tcp.depart();
            self.tcp.go_on(now);
            self.udp.tidy(now);
            self.unpause(now);
        }
        self.tcp.reset_all();
    }

    /// Has what is small wait for the end of a turn, or not.
    fn gather(&mut self, gathers: bool) {
        self.tcp.gather(gathers);
        self.udp.gather(gathers);
    }

    /// How long nothing needs to be done without an event.
    fn limit(&self) -> Option<Duration> {
        let resume = self.paused.iter().map(|(until, _)| *until).min();
        let next = [resume, self.tcp.next_look(), self.udp.next_look()];
        let next = next.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn dispatch(&mut self, ready: Ready, now: Instant) {
        match Subject::from(ready.token) {
            Subject::Leg { slot, side } => {
                self.udp.deliver();
                self.tcp.event(slot, side, ready, now);
            }
            Subject::Flow(id) => {
                self.tcp.deliver();
                self.udp.take_out(id, now);
            }
            Subject::Listener(token) => {
                self.tcp.deliver();
                self.listener(token, now);
            }
        }
    }

    fn listener(&mut self, token: Token, now: Instant) {
        let Some(served) = self.routes.get(&token.route) else { return };
        if served.shared.route.proto == Proto::Udp {
            return self.udp.take_in(served, token, now);
        }
        self.udp.deliver();
        if let Err(Exhausted(error)) = self.tcp.accept(served, token, now) {
            served.shared.counters.accept_errors.up();
            let totals = &self.context.totals;
            // Once per relay: what follows is in the counter.
            if totals.accept_pauses.first() {
                tracing::error!(%error, "out of descriptors or memory, accepting pauses");
            }
            self.pause(token, now);
        }
    }

    fn pause(&mut self, token: Token, now: Instant) {
        let socket = self.routes.get(&token.route).and_then(|served| served.socket(token));
        if let (Some(socket), Some(seat)) = (socket, self.context.seats.get(self.seat)) {
            seat.poller.remove(socket);
            self.paused.push((now + self.context.limits.accept_pause, token));
        }
    }

    fn unpause(&mut self, now: Instant) {
        if self.paused.is_empty() {
            return;
        }
        let Some(seat) = self.context.seats.get(self.seat) else { return };
        let routes = &self.routes;
        let pause = self.context.limits.accept_pause;
        self.paused.retain_mut(|(until, token)| {
            if *until > now {
                return true;
            }
            let socket = routes.get(&token.route).and_then(|served| served.socket(*token));
            let Some(socket) = socket else { return false };
            match seat.poller.share(socket, Subject::Listener(*token).into()) {
                Ok(()) | Err(Errno::EXIST) => false,
                // No room for an entry now; later perhaps.
                Err(_) => {
                    *until = now + pause;
                    true
                }
            }
        });
    }

    fn obey(&mut self, seat: &Seat, now: Instant) {
        for command in seat.heard() {
            match command {
                Command::Serve(served) => {
                    self.routes.insert(served.shared.key, served);
                }
                Command::Withdraw { keys, done } => {
                    self.withdraw(seat, &keys);
                    // Whoever asked may have given up waiting.
                    let _told = done.send(());
                }
                Command::Change { changed, done } => {
                    self.change(&changed, now);
                    // Whoever asked may have given up waiting.
                    let _told = done.send(());
                }
                Command::Leave { out } => {
                    for served in std::mem::take(&mut self.routes).values() {
                        served.sockets().for_each(|(_, socket)| seat.poller.remove(socket));
                    }
                    // Whoever asked may have given up waiting.
                    let _passed = out.send(self.udp.pass_on());
                }
                Command::TakeFlow { served, token, flow } => {
                    self.udp.take_over(&served, token, flow);
                }
                Command::Cut => self.tcp.cut(now),
                Command::Adopt(accepted) => {
                    let route = self.routes.get(&accepted.route());
                    self.tcp.adopt_under(route.map(|served| &served.shared), *accepted, now);
                }
                Command::Move(moved) => self.tcp.take_over(moved, now),
                Command::Stop => self.stopped = true,
            }
        }
    }

    fn withdraw(&mut self, seat: &Seat, keys: &[u32]) {
        let mut udp = HashSet::new();
        for key in keys {
            let Some(served) = self.routes.remove(key) else { continue };
            // Closing would not do: a daemon may have copies of the sockets.
            served.sockets().for_each(|(_, socket)| seat.poller.remove(socket));
            if served.shared.route.proto == Proto::Udp {
                udp.insert(*key);
            }
        }
        self.udp.withdraw(&udp);
    }

    fn change(&mut self, changed: &Changed, now: Instant) {
        for (key, served) in changed {
            // After a hand-over there are connections only.
            if let Some(known) = self.routes.get_mut(key) {
                *known = Arc::clone(served);
            }
        }
        self.tcp.change(changed, now);
        self.udp.change(changed);
    }
}
