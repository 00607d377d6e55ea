//! Following an engine's events over its restarts.

use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use wharf_spec::Engine;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::event::{self, Event};
use crate::lines::{Line, Lines};
use crate::mailbox::Mailbox;

/// A restart of Docker takes a second or two; nobody should wait much longer than that.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// An engine that is not installed is asked for at this pace for ever: a failed connect(2).
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lasted this long was none of a row of failures.
const STEADY: Duration = Duration::from_secs(10);

/// Podman 4.3 sends the head of its answer with the first event, which may take days, so its
/// silence means yes; Docker's refusals come within milliseconds.
const HEAD_GRACE: Duration = Duration::from_millis(300);
/// The subscription begins a moment after the question, and clocks are read in whole seconds.
const OVERLAP: Duration = Duration::from_secs(1);
/// An engine that hangs closes nothing: once in a while the question is asked anew.
const RENEWAL: Duration = Duration::from_secs(600);

/// The events of one engine, from a task that ends when this is dropped.
///
/// There is one connection at a time. The first event is [`Event::Connected`] or [`Event::Lost`].
#[derive(Debug)]
pub struct Watch {
    events: Receiver<Event>,
    _follower: AbortOnDropHandle<()>,
}

/// Why a connection was given up.
enum Ending {
    /// It had lasted long enough.
    Renewal,
    /// It did not work, or no longer.
    Failure(Error),
}

struct Follower {
    engine: Engine,
    socket: PathBuf,
    limit: Duration,
    mailbox: Mailbox,
}

// === impl Watch ===

impl Watch {
    pub(crate) fn start(engine: Engine, socket: PathBuf, limit: Duration) -> Self {
        let (mailbox, events) = Mailbox::new();
        let mut follower = Follower { engine, socket, limit, mailbox };
        let task = tokio::spawn(async move { follower.follow().await });
        Self { events, _follower: AbortOnDropHandle::new(task) }
    }

    /// The next event. Can be given up and called again without losing one. `None` only when the
    /// runtime shuts down.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

// === impl Follower ===

impl Follower {
    async fn follow(&mut self) {
        let (mut pause, mut is_lost) = (FIRST_PAUSE, false);
        loop {
            let begun = Instant::now();
            let ending = match self.connect().await {
                Ok((connection, since)) => {
                    is_lost = false;
                    self.listen(connection, since).await
                }
                Err(error) => Ending::Failure(error),
            };
            let Ending::Failure(error) = ending else { continue };
            tracing::debug!(engine = %self.engine, %error, "events are not followed");
            if !is_lost {
                self.mailbox.put(Event::Lost { reason: error.to_string() });
                is_lost = true;
            }
            if begun.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            self.wait(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A connection to an engine that answers, and the time before it was made.
    async fn connect(&self) -> Result<(Connection, u64)> {
        let (engine, limit) = (self.engine, self.limit);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = now.saturating_sub(OVERLAP).as_secs();
        let attempt = async {
            let mut connection = Connection::open(engine, &self.socket).await?;
            connection.ping().await?;
            Ok((connection, since))
        };
        timeout(limit, attempt).await.map_err(|_| Error::Timeout { engine, limit })?
    }

    async fn listen(&mut self, mut connection: Connection, since: u64) -> Ending {
        let path = event::path(since);
        let until = Instant::now() + RENEWAL;
        let mut head = pin!(connection.request(&path));
        let early = timeout(HEAD_GRACE, &mut head).await;
        if !matches!(early, Ok(Err(_))) {
            self.mailbox.put(Event::Connected);
        }
        let answer = match early {
            Ok(answer) => answer,
            Err(_) => match self.patiently(until, head).await {
                Some(answer) => answer,
                None => return Ending::Renewal,
            },
        };
        match answer {
            Ok(response) => self.read(response, until).await,
            Err(error) => Ending::Failure(error),
        }
    }

    async fn read(&mut self, mut response: Response<Incoming>, until: Instant) -> Ending {
        let mut lines = Lines::default();
        loop {
            let Some(frame) = self.patiently(until, response.body_mut().frame()).await else {
                return Ending::Renewal;
            };
            let piece = match frame {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Ending::Failure(self.broken(&error.to_string())),
                None => return Ending::Failure(self.broken("no more events")),
            };
            for line in lines.feed(&piece) {
                if let Err(error) = self.tell(line) {
                    return Ending::Failure(error);
                }
            }
        }
    }

    fn tell(&mut self, line: Line) -> Result<()> {
        let engine = self.engine;
        let Line::Whole(line) = line else {
            self.mailbox.miss();
            return Ok(());
        };
        let why = |error: serde_json::Error| format!("an event: {error}");
        let event = event::decode(engine, &line)
            .map_err(|error| Error::NotUnderstood { engine, why: why(error) })?;
        if let Some(event) = event {
            self.mailbox.put(event);
        }
        Ok(())
    }

    /// Waits for `work`, telling the reader of gaps meanwhile; `None` when `until` has come.
    async fn patiently<T>(&mut self, until: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = timeout_at(until, &mut work) => return done.ok(),
                () = self.mailbox.close_gap(), if self.mailbox.has_gap() => {}
            }
        }
    }

    async fn wait(&mut self, pause: Duration) {
        self.patiently(Instant::now() + pause, std::future::pending::<()>()).await;
    }

    fn broken(&self, why: &str) -> Error {
        Error::Broken { engine: self.engine, why: why.to_owned() }
    }
}
