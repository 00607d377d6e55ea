//! What the relay answers to each request.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::predecessor::Predecessor;
use crate::protocol::{Listed, PassedFlow, Refusal, Request, Response, Route, VERSION};
use crate::route::Served;
use crate::table::{Owner, Table};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At once.
    Now,
    /// When the last connection has ended, or after this long.
    Drained(Duration),
}

/// What requests work on.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) table: Arc<Table>,
    /// Asks the process to end.
    pub(crate) end: mpsc::Sender<End>,
    /// The network namespace served, by inode number.
    pub(crate) namespace: u64,
    /// What a successor gets besides the routes.
    pub(crate) heirlooms: Heirlooms,
    /// The relay whose place this one took, as long as it has connections.
    pub(crate) predecessor: Option<Arc<Predecessor>>,
}

/// The control socket's listener and the lock of the run directory, until a successor has them.
#[derive(Debug)]
pub(crate) struct Heirlooms(Mutex<Arc<[OwnedFd]>>);

/// A response and what travels with it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    served: Vec<Arc<Served>>,
    flows: Vec<OwnedFd>,
    heirlooms: Arc<[OwnedFd]>,
    then: Option<(mpsc::Sender<End>, End)>,
}

// === impl Heirlooms ===

impl Heirlooms {
    pub(crate) fn new(listener: OwnedFd, lock: OwnedFd) -> Self {
        Self(Mutex::new(Arc::new([listener, lock])))
    }

    /// Closes them.
    pub(crate) fn let_go(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new([]);
    }

    fn copies(&self) -> Arc<[OwnedFd]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Answers ===

impl Answers {
    pub(crate) fn answer(
        &self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        owner: Owner,
    ) -> Answer {
        match request {
            Request::Hello { .. } => self.hello().into(),
            Request::Add { routes } => done(self.table.add(routes, descriptors, owner)),
            Request::Open { ids, lease } => done(self.table.open(&ids, lease.then_some(owner))),
            Request::Change { routes, lenient } => self.change(routes, descriptors, lenient),
            Request::Remove { ids, drain_seconds } => self.remove(&ids, drain_seconds).into(),
            Request::List { with_sockets } => self.list(with_sockets),
            Request::Stats => Response::Stats(self.table.stats()).into(),
            Request::HandOver => self.hand_over(),
            Request::Leave { drain_seconds } => self.leave(drain_seconds),
            Request::Shutdown => self.shutdown(),
        }
    }

    /// A control connection is gone.
    pub(crate) fn forget(&self, owner: Owner) {
        self.end_before(&self.table.forget(owner));
    }

    /// Removes the routes whose tenants did not come back.
    pub(crate) fn drop_orphans(&self) {
        self.end_before(&self.table.drop_orphans());
    }

    /// Ends what a predecessor carries for leased routes that are gone.
    fn end_before(&self, leased: &[String]) {
        if let Some(predecessor) = self.predecessor.as_ref().filter(|_| !leased.is_empty()) {
            predecessor.remove(leased, None, &self.table);
        }
    }

    fn hello(&self) -> Response {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let pid = std::process::id();
        Response::Hello { version: VERSION, pid, namespace: self.namespace, release }
    }

    fn change(&self, routes: Vec<Route>, descriptors: Vec<OwnedFd>, lenient: bool) -> Answer {
        let Some(predecessor) = &self.predecessor else {
            return done(self.table.change(routes, descriptors, lenient));
        };
        let copies = descriptors.iter().map(OwnedFd::try_clone).collect::<Result<Vec<_>, _>>();
        let again = routes.clone();
        let changed = self.table.change(routes, descriptors, lenient);
        if let (Ok(()), Ok(copies)) = (&changed, copies) {
            predecessor.change(again, &copies);
        }
        done(changed)
    }

    fn remove(&self, ids: &[String], drain_seconds: Option<u32>) -> Response {
        let drain = drain_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let unknown = self.table.remove(ids, drain);
        if let Some(predecessor) = &self.predecessor {
            predecessor.remove(ids, drain_seconds, &self.table);
        }
        Response::Removed { unknown }
    }

    fn list(&self, with_sockets: bool) -> Answer {
        if let Some(predecessor) = &self.predecessor {
            predecessor.refresh(&self.table);
        }
        let (mut routes, mut served): (Vec<Listed>, Vec<_>) = self.table.list().into_iter().unzip();
        if !with_sockets {
            served.clear();
        }
        // They have no sockets.
        routes.extend(self.table.leaving());
        Answer { served, ..Response::Listed { routes }.into() }
    }

    fn hand_over(&self) -> Answer {
        match self.table.hand_over() {
            Ok(list) => {
                let (routes, served): (Vec<Listed>, Vec<_>) = list.into_iter().unzip();
                let response = Response::HandedOver { routes };
                Answer { served, heirlooms: self.heirlooms.copies(), ..response.into() }
            }
            Err(refusal) => Response::Refused(refusal).into(),
        }
    }

    fn leave(&self, drain_seconds: u32) -> Answer {
        let (flows, sockets): (Vec<PassedFlow>, Vec<OwnedFd>) =
            self.table.leave().into_iter().unzip();
        let end = End::Drained(Duration::from_secs(drain_seconds.into()));
        let then = Some((self.end.clone(), end));
        Answer { flows: sockets, then, ..Response::Left { flows }.into() }
    }

    fn shutdown(&self) -> Answer {
        // Closed here, so that the ports are free when the answer arrives.
        self.table.clear();
        if let Some(predecessor) = &self.predecessor {
            predecessor.shutdown();
        }
        Answer { then: Some((self.end.clone(), End::Now)), ..Response::Done.into() }
    }
}

// === impl Answer ===

impl Answer {
    /// The descriptors to send along.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let routes = self.served.iter().flat_map(|served| served.descriptors());
        routes.chain(self.flows.iter().chain(self.heirlooms.iter()).map(AsFd::as_fd))
    }

    /// Does what had to wait until the answer was on its way.
    pub(crate) fn sent(self) {
        if let Some((process, end)) = self.then {
            // Full means that the process is being asked to end already.
            let _asked = process.try_send(end);
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let (served, flows) = (Vec::new(), Vec::new());
        Self { response, served, flows, heirlooms: Arc::new([]), then: None }
    }
}

fn done(result: Result<(), Refusal>) -> Answer {
    result.map_or_else(Response::Refused, |()| Response::Done).into()
}
