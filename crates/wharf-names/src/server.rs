//! The server: one for all containers, with sockets inside each one's namespace.
//!
//! A container is known by the socket its question came by, so nobody can ask in another's name.
//! What is a container's name is answered at once; what is not waits for other resolvers in a task
//! of its own, a bounded number of them for each container and in all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use wharf_host::netns::Netns;

use crate::answer::{self, Reply, Transport};
use crate::connection;
use crate::counters::{Counters, Outcome};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::inside::{ADDRESS, Inside};
use crate::upstream::{Upstream, Way};

/// Questions of one container that wait for other resolvers. A browser asks some dozens at a time.
const PENDING: usize = 256;
/// Connections of one container. They are for what does not fit into a datagram.
const CONNECTIONS: usize = 64;
/// No question is as long; what is longer is not read.
const QUESTION_LIMIT: usize = 4_096;
/// After an error of a socket, so that one that stays costs little.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the directory comes from, as it is now.
pub trait Source: Send + Sync + 'static {
    /// Who is called what at this moment; asked for every question.
    fn directory(&self) -> Arc<Directory>;
}

/// The server of names.
#[derive(Debug)]
pub struct Server {
    upstream: Arc<Upstream>,
    counters: Arc<Counters>,
    served: Mutex<BTreeMap<String, DropGuard>>,
    tasks: TaskTracker,
}

/// What the tasks for one container share.
pub(crate) struct Desk {
    asker: String,
    source: Arc<dyn Source>,
    upstream: Arc<Upstream>,
    counters: Arc<Counters>,
    netns: Netns,
    pending: Semaphore,
    turn: AtomicUsize,
}

// === impl Server ===

impl Server {
    /// A server that passes on what is no container's name to the resolvers in the file
    /// `resolv_conf`, which is read again whenever it has changed.
    pub fn new(resolv_conf: PathBuf) -> Self {
        Self {
            upstream: Arc::new(Upstream::of(resolv_conf)),
            counters: Arc::default(),
            served: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Answers the container `asker` by `inside` from now on, and no longer by what it had before.
    ///
    /// # Errors
    /// Outside a tokio runtime.
    pub fn serve(&self, asker: &str, inside: Inside, source: Arc<dyn Source>) -> Result<()> {
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let failed = |source| Error::Listen { address: (ADDRESS, 0).into(), source };
        let udp = UdpSocket::from_std(inside.udp).map_err(failed)?;
        let tcp = TcpListener::from_std(inside.tcp).map_err(failed)?;
        let desk = Arc::new(Desk {
            asker: asker.to_owned(),
            source,
            upstream: Arc::clone(&self.upstream),
            counters: Arc::clone(&self.counters),
            netns: inside.netns,
            pending: Semaphore::new(PENDING),
            turn: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let over_udp =
            datagrams(Arc::clone(&desk), Arc::new(udp), self.tasks.clone(), stop.clone());
        let over_tcp = connections(desk, tcp, self.tasks.clone(), stop.clone());
        self.tasks.spawn_on(until(stop.clone(), over_udp), &runtime);
        self.tasks.spawn_on(until(stop.clone(), over_tcp), &runtime);
        self.served().insert(asker.to_owned(), stop.drop_guard());
        Ok(())
    }

    /// Answers the container `asker` no longer, and lets go of its namespace.
    pub fn stop(&self, asker: &str) {
        self.served().remove(asker);
    }

    /// Whether the container `asker` is answered.
    pub fn serves(&self, asker: &str) -> bool {
        self.served().contains_key(asker)
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<String, DropGuard>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whatever belongs to a container ends with it: a socket that is left holds its namespace.
async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    let _ended = stop.run_until_cancelled_owned(work).await;
}

async fn datagrams(
    desk: Arc<Desk>,
    socket: Arc<UdpSocket>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let mut buffer = vec![0; QUESTION_LIMIT];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let question = buffer.get(..length).unwrap_or_default();
        match desk.reply(question, Transport::Udp) {
            // A client that does not wait for its answer asks again.
            Reply::Answer(answer) => drop(socket.try_send_to(&answer, from)),
            Reply::Ignore => {}
            Reply::Forward => {
                let (desk, socket) = (Arc::clone(&desk), Arc::clone(&socket));
                let question = question.to_vec();
                tasks.spawn(until(stop.clone(), async move {
                    if let Some(answer) = desk.forward(&question, Transport::Udp).await {
                        drop(socket.send_to(&answer, from).await);
                    }
                }));
            }
        }
    }
}

async fn connections(
    desk: Arc<Desk>,
    listener: TcpListener,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Those that come while all are taken wait in the kernel's queue.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let desk = Arc::clone(&desk);
        tasks.spawn(until(stop.clone(), async move {
            connection::serve(&desk, stream).await;
            drop(slot);
        }));
    }
}

// === impl Desk ===

impl Desk {
    pub(crate) fn reply(&self, question: &[u8], over: Transport) -> Reply {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let reply = answer::reply(question, &self.source.directory(), &self.asker, over, turn);
        if matches!(reply, Reply::Answer(_)) {
            self.counters.count(Outcome::Answered);
        }
        reply
    }

    /// What other resolvers say; that there is no answer is one.
    pub(crate) async fn forward(&self, question: &[u8], over: Transport) -> Option<Vec<u8>> {
        let directory = self.source.directory();
        let slot = self.pending.try_acquire();
        if slot.is_err() || !directory.may_ask_outside(&self.asker) {
            self.counters.count(Outcome::Refused);
            return answer::failure(question, ResponseCode::ServFail);
        }
        let way = match directory.resolvers(&self.asker) {
            [] => Way::Host,
            own => Way::Inside(own, &self.netns),
        };
        let Some(told) = self.upstream.ask(question, over, way).await else {
            self.counters.count(Outcome::Unanswered);
            return answer::failure(question, ResponseCode::ServFail);
        };
        self.counters.count(Outcome::Forwarded);
        Some(match over {
            Transport::Udp => answer::fitted(question, told),
            Transport::Tcp => told,
        })
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Desk").field(&self.asker).finish()
    }
}
