//! The engine: the table of routes and one event loop for each core.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;

use wharf_host::process::raise_descriptor_limit;
use wharf_spec::Proto;

use crate::context::{Command, Context};
use crate::error::{During, Error, Result};
use crate::limits::{Budget, Limits};
use crate::predecessor::{self, Predecessor};
use crate::protocol::{Listed, Phase};
use crate::table::{NOBODY, Table};
use crate::worker::Worker;

/// Running event loops and what they serve.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) table: Arc<Table>,
    context: Arc<Context>,
    threads: Vec<JoinHandle<()>>,
}

// === impl Engine ===

impl Engine {
    /// Starts the loops, in the network namespace of the calling thread.
    pub(crate) fn start(limits: Limits) -> Result<Self> {
        Self::launch(Context::new(limits, raise_descriptor_limit()?)?)
    }

    /// Starts the loops of a context that was made before this process was confined.
    pub(crate) fn launch(context: Context) -> Result<Self> {
        let context = Arc::new(context);
        let table = Arc::new(Table::new(Arc::clone(&context)));
        let mut threads = Vec::with_capacity(context.seats.len());
        for seat in 0..context.seats.len() {
            let worker = Worker::new(&context, seat);
            let thread = std::thread::Builder::new().name(format!("loop-{seat}"));
            let body = || or_abort(|| worker.run());
            threads.push(thread.spawn(body).during(|| "start an event loop")?);
        }
        Ok(Self { table, context, threads })
    }

    /// The descriptors the engine may use.
    pub(crate) fn descriptors(&self) -> Arc<Budget> {
        Arc::clone(&self.context.budget)
    }

    /// Takes the place of another relay: serves its TCP ports beside it, has it let go, and goes
    /// on with its flows. Datagrams that arrive meanwhile wait in the sockets, so that no flow is
    /// begun twice.
    pub(crate) fn succeed(
        &self,
        predecessor: &Arc<Predecessor>,
        routes: Vec<(Listed, Vec<OwnedFd>)>,
        drain_seconds: u32,
    ) -> Result<()> {
        // What it has counted by now; should it be killed, this is what is known of it.
        self.table.inherit(routes.iter().map(|(listed, _)| listed.clone()).collect());
        let living = routes.into_iter().filter(|(listed, _)| listed.phase == Phase::Open);
        let (listed, sockets): (Vec<Listed>, Vec<Vec<OwnedFd>>) = living.unzip();
        let chosen = |wanted: &dyn Fn(&Listed) -> bool| -> Vec<String> {
            let chosen = listed.iter().filter(|listed| wanted(listed));
            chosen.map(|listed| listed.route.id.clone()).collect()
        };
        let udp = chosen(&|listed| listed.route.proto == Proto::Udp);
        let tcp = chosen(&|listed| listed.route.proto != Proto::Udp);
        let leased = chosen(&|listed| listed.leased);
        let routes = listed.into_iter().map(|listed| listed.route).collect();
        self.table.add(routes, sockets.into_iter().flatten().collect(), NOBODY)?;
        self.table.join(&tcp)?;
        self.table.lease_to_nobody(&leased);
        let (flows, sockets) = match predecessor.dismiss(drain_seconds) {
            // Killed meanwhile: everything that is left of it is here already.
            Err(Error::Closed) => {
                tracing::warn!("the predecessor is gone, and its UDP flows with it");
                (Vec::new(), Vec::new())
            }
            left => left?,
        };
        self.table.take_flows(flows, sockets);
        self.table.join(&udp)?;
        // Until it has said something else; a successor that comes before that has to know of it.
        self.table.inherit_open(0);
        predecessor::watch(predecessor, &self.table)
    }

    /// Closes all sockets, resets all connections and ends the loops.
    pub(crate) fn stop(self) {
        self.table.clear();
        self.context.tell_all(|| Command::Stop);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("an event loop had panicked");
            }
        }
    }
}

/// A loop that is missing would swallow its share of the connections. A process that is missing is
/// replaced.
fn or_abort(work: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!("an event loop has panicked; the relay ends");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests;
