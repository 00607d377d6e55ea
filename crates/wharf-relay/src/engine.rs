//! The engine: the table of routes and one event loop for each core.

use std::sync::Arc;
use std::thread::JoinHandle;

use wharf_host::process::raise_descriptor_limit;

use crate::context::{Command, Context};
use crate::error::{During, Result};
use crate::limits::Limits;
use crate::table::Table;
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
        let context = Arc::new(Context::new(limits, raise_descriptor_limit()?)?);
        let table = Arc::new(Table::new(Arc::clone(&context)));
        let mut threads = Vec::with_capacity(context.seats.len());
        for seat in 0..context.seats.len() {
            let worker = Worker::new(&context, seat);
            let thread = std::thread::Builder::new().name(format!("loop-{seat}"));
            threads.push(thread.spawn(|| worker.run()).during(|| "start an event loop")?);
        }
        Ok(Self { table, context, threads })
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
