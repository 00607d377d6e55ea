//! One connection to an engine, and questions on it one after the other.

use std::fmt::{self, Write};
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;
use wharf_spec::Engine;

use crate::error::{Error, Result, brief};

/// Docker describes a container with ten thousand ports in less than 4 MiB.
const ANSWER_MAX: usize = 32 << 20;

/// A connection that closes when dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    engine: Engine,
    sender: SendRequest<Empty<Bytes>>,
    rootless: bool,
    _driver: AbortOnDropHandle<()>,
}

/// A text as it stands in a path or query: whatever it contains, it means itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a>(pub(crate) &'a str);

/// How both engines say that they will not.
#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
}

// === impl Connection ===

impl Connection {
    /// Connects to `engine` at `socket`.
    pub(crate) async fn open(engine: Engine, socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await.map_err(|source| Error::NotRunning {
            engine,
            socket: socket.to_owned(),
            source,
        })?;
        // The user that called listen(2), as this user namespace sees it: of a rootless engine
        // that is not root, even where it is root in its own.
        let rootless = stream.peer_cred().is_ok_and(|peer| peer.uid() != 0);
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::Broken { engine, why: error.to_string() })?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told of the same fault.
            let _ended = driver.await;
        });
        Ok(Self { engine, sender, rootless, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Whether the engine runs without root: its bridges are in a network namespace of its own.
    pub(crate) fn is_rootless(&self) -> bool {
        self.rootless
    }

    /// GETs `path` and reads the answer.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        let response = self.request(path).await?;
        let bytes = self.collect(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_understood(&error))
    }

    /// GETs `path` and takes any answer but a refusal.
    pub(crate) async fn ping(&mut self) -> Result<()> {
        let response = self.request("/_ping").await?;
        self.collect(response).await.map(drop)
    }

    /// GETs `path` and returns when the head of the answer has come; a refusal is an error.
    pub(crate) async fn request(&mut self, path: &str) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .uri(path)
            .header("host", "wharf")
            .body(Empty::new())
            .map_err(|error| self.not_understood(&error))?;
        let engine = self.engine;
        let broken = |error: hyper::Error| match error.is_parse() {
            true => Error::NotUnderstood { engine, why: error.to_string() },
            false => Error::Broken { engine, why: error.to_string() },
        };
        self.sender.ready().await.map_err(broken)?;
        let response = self.sender.send_request(request).await.map_err(broken)?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refusal(response).await),
        }
    }

    async fn refusal(&self, response: Response<Incoming>) -> Error {
        let status = response.status().as_u16();
        let bytes = match self.collect(response).await {
            Ok(bytes) => bytes,
            Err(error) => return error,
        };
        let message = match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => brief(&refusal.message),
            Err(_) => brief(&String::from_utf8_lossy(&bytes)),
        };
        Error::Refused { engine: self.engine, status, message }
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes> {
        let engine = self.engine;
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        Ok(body
            .map_err(|error| match error.is::<LengthLimitError>() {
                true => self.not_understood(&format!("it is larger than {ANSWER_MAX} bytes")),
                false => Error::Broken { engine, why: error.to_string() },
            })?
            .to_bytes())
    }

    fn not_understood(&self, why: &dyn fmt::Display) -> Error {
        Error::NotUnderstood { engine: self.engine, why: brief(&why.to_string()) }
    }
}

// === impl Part ===

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Dots too: Docker takes `..` for a step up.
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => f.write_char(char::from(byte)),
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_path_means_itself() {
        assert_eq!(Part("web_1-a").to_string(), "web_1-a");
        assert_eq!(Part("../a b?x=1").to_string(), "%2E%2E%2Fa%20b%3Fx%3D1");
    }
}
