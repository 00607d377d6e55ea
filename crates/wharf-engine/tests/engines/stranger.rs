//! Something on a unix socket that answers as a test says.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use wharf_engine::{Engines, Sockets};

/// Short, so that tests are; long enough for a busy machine to answer what is answered at once.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);

pub(crate) struct Stranger {
    pub(crate) engines: Engines,
    connections: Arc<AtomicUsize>,
    directory: TempDir,
}

/// One request, and the way back.
pub(crate) struct Request {
    /// Its path and query.
    pub(crate) path: String,
    stream: UnixStream,
}

// === impl Stranger ===

impl Stranger {
    /// Answers each request by `answer`, each connection on a thread of its own; a connection
    /// ends when `answer` says `false`.
    pub(crate) fn new(answer: impl Fn(&mut Request) -> bool + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (answer, count) = (Arc::new(answer), Arc::clone(&connections));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream, answer.as_ref()));
            }
        });
        let sockets = Sockets { docker: socket.clone(), podman: socket };
        let engines = Engines::new(sockets).with_limit(LIMIT);
        Self { engines, connections, directory }
    }

    /// As [`Stranger::new`], with pings answered.
    pub(crate) fn alive(answer: impl Fn(&mut Request) -> bool + Send + Sync + 'static) -> Self {
        Self::new(move |request| match request.path.as_str() {
            "/_ping" => request.json("\"OK\""),
            _ => answer(request),
        })
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Takes the socket away.
    pub(crate) fn vanish(&self) {
        std::fs::remove_file(self.directory.path().join("sock")).unwrap();
    }
}

fn serve(mut stream: UnixStream, answer: &(impl Fn(&mut Request) -> bool + ?Sized)) {
    while let Some(path) = head(&mut stream) {
        let Ok(copy) = stream.try_clone() else { return };
        if !answer(&mut Request { path, stream: copy }) {
            // The connection's other descriptors are ours too.
            let _closed = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// Reads one request without a body; gives its path.
fn head(stream: &mut UnixStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        text.extend_from_slice(&byte);
    }
    String::from_utf8(text).ok()?.split(' ').nth(1).map(str::to_owned)
}

// === impl Request ===

impl Request {
    /// Writes anything; says whether it was taken.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// A whole answer.
    pub(crate) fn answer(&mut self, status: &str, body: &str) -> bool {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        self.raw((head + body).as_bytes())
    }

    /// A good answer.
    pub(crate) fn json(&mut self, body: &str) -> bool {
        self.answer("200 OK", body)
    }

    /// The head of an answer that has no end yet.
    pub(crate) fn endless(&mut self) -> bool {
        self.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    }

    /// A piece of such an answer.
    pub(crate) fn chunk(&mut self, piece: &[u8]) -> bool {
        let head = format!("{:x}\r\n", piece.len());
        self.raw(head.as_bytes()) && self.raw(piece) && self.raw(b"\r\n")
    }

    /// Waits until the other side has closed.
    pub(crate) fn wait_for_end(&mut self) -> bool {
        let mut rest = Vec::new();
        let _ended = self.stream.read_to_end(&mut rest);
        false
    }
}
