//! A client of the daemon's socket.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::error::{ApiError, ErrorCode};
use crate::event::Event;
use crate::frame::Frame;

mod lines;

pub use lines::{Download, Lines};

/// No answer of the daemon is larger, log and exec streams aside (they are read piecewise).
const MAX_ANSWER: usize = 256 << 20;
/// Starting 10,000 ports takes well under a second; a daemon silent for this long is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// An event is a few lines of text.
const MAX_EVENT: usize = 1 << 20;

mod connection;

pub use connection::{Connection, EXEC_HEADER, FrameReader, FrameWriter, PROTOCOL};

type Body = BoxBody<Bytes, std::io::Error>;

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error(
        "cannot connect to the Wharf daemon at {path}: {source}{}", remedy(source),
        path = .path.display()
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The daemon refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The daemon ended with the request unread, so nothing has been done.
    #[error("the Wharf daemon ended before it had read the request; try again")]
    Unheard,
    /// The daemon ended with the request read and not answered.
    #[error(
        "the Wharf daemon ended before it answered, and may have done what it was asked; \
         `wharf ps` and `wharf ports` tell"
    )]
    Unanswered,
    /// The conversation broke down.
    #[error("talking to the Wharf daemon: {0}")]
    Transport(String),
    /// The daemon did not answer in time.
    #[error("the Wharf daemon gave no answer within {} s; its log says more", .0.as_secs())]
    Timeout(Duration),
}

/// A client; each call is one connection, so it needs no upkeep.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A name as it stands in a path or query: whatever it contains, it means itself.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a>(pub &'a str);

/// Output of a container or of a command in one, piece by piece.
#[derive(Debug)]
pub struct Output {
    body: Incoming,
    buffer: BytesMut,
}

/// Events as they happen.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: BytesMut,
}

// === impl Client ===

impl Client {
    /// A client of the daemon at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket it talks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// GETs `path` and reads the answer as `T`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, empty()).await
    }

    /// POSTs `body` as JSON to `path` and reads the answer as `T`.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, path, json(body)?).await
    }

    /// DELETEs `path` and reads the answer as `T`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, empty()).await
    }

    /// POSTs the bytes of `reader` to `path`; loading a large image may take its time, so only the
    /// connection has a limit.
    pub async fn upload<R, T>(&self, path: &str, reader: R) -> Result<T, ClientError>
    where
        R: AsyncRead + Send + Sync + Unpin + 'static,
        T: DeserializeOwned,
    {
        self.send_bytes(Method::POST, path, reader).await
    }

    /// As [`Client::upload`], by PUT.
    pub async fn put<R, T>(&self, path: &str, reader: R) -> Result<T, ClientError>
    where
        R: AsyncRead + Send + Sync + Unpin + 'static,
        T: DeserializeOwned,
    {
        self.send_bytes(Method::PUT, path, reader).await
    }

    async fn send_bytes<R, T>(
        &self,
        method: Method,
        path: &str,
        reader: R,
    ) -> Result<T, ClientError>
    where
        R: AsyncRead + Send + Sync + Unpin + 'static,
        T: DeserializeOwned,
    {
        let stream = futures_util::stream::try_unfold(reader, |mut reader| async move {
            let mut piece = BytesMut::with_capacity(1 << 16);
            let read = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut piece).await?;
            Ok((read > 0).then(|| (BodyFrame::data(piece.freeze()), reader)))
        });
        let body = BodyExt::boxed(StreamBody::new(stream));
        read_json(self.send(method, path, "application/octet-stream", body).await?).await
    }

    /// GETs `path` and writes the bytes of the answer to `writer`.
    pub async fn download<W>(&self, path: &str, writer: &mut W) -> Result<(), ClientError>
    where
        W: AsyncWrite + Unpin,
    {
        let Output { mut body, .. } = self.stream(Method::GET, path, empty()).await?;
        while let Some(piece) = body.frame().await {
            if let Ok(data) = piece.map_err(transport)?.into_data() {
                tokio::io::AsyncWriteExt::write_all(writer, &data).await.map_err(transport)?;
            }
        }
        // Standard output is written by a thread, which shutting down would not wait for.
        tokio::io::AsyncWriteExt::flush(writer).await.map_err(transport)?;
        tokio::io::AsyncWriteExt::shutdown(writer).await.map_err(transport)
    }

    /// GETs a stream of output.
    pub async fn output(&self, path: &str) -> Result<Output, ClientError> {
        self.stream(Method::GET, path, empty()).await
    }

    /// POSTs `body` and reads a stream of output.
    pub async fn post_output<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Output, ClientError> {
        self.stream(Method::POST, path, json(body)?).await
    }

    /// GETs events as they happen.
    pub async fn events(&self, path: &str) -> Result<Events, ClientError> {
        let Output { body, buffer } = self.stream(Method::GET, path, empty()).await?;
        Ok(Events { body, buffer })
    }

    async fn stream(&self, method: Method, path: &str, body: Body) -> Result<Output, ClientError> {
        let response = self.send(method, path, "application/json", body).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        Ok(Output { body: response.into_body(), buffer: BytesMut::new() })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, ClientError> {
        let answer =
            async { read_json(self.send(method, path, "application/json", body).await?).await };
        tokio::time::timeout(ANSWER_LIMIT, answer)
            .await
            .map_err(|_| ClientError::Timeout(ANSWER_LIMIT))?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "wharf")
            .header("content-type", content_type)
            .body(body)
            .map_err(transport)?;
        self.exchange(request).await
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Connect { path: self.socket.clone(), source })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(transport)?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|error| unanswered(&error))
    }
}

// === impl Part ===

impl std::fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                f.write_char(char::from(byte))
            }
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

// === impl Output ===

impl Output {
    /// The next piece; `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer).map_err(transport)? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(piece) => {
                    if let Ok(data) = piece.map_err(transport)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

// === impl Events ===

impl Events {
    /// The next event; `None` when the daemon has ended.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                // Other lines name the event, or keep the connection from looking dead.
                if let Some(data) = line.strip_prefix(b"data:")
                    && let Ok(event) = serde_json::from_slice(data)
                {
                    return Ok(Some(event));
                }
            }
            if self.buffer.len() > MAX_EVENT {
                return Err(transport("an event without end"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(piece) => {
                    if let Ok(data) = piece.map_err(transport)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

fn remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => "; root and members of the group wharf may",
        std::io::ErrorKind::InvalidInput => "; set WHARF_RUN_DIR to a shorter path",
        _ => "",
    }
}

async fn read_json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let bytes = collect(response).await?;
    let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    serde_json::from_slice(text).map_err(transport)
}

async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let bytes = match collect(response).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    serde_json::from_slice::<ApiError>(&bytes)
        .unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&bytes);
            ApiError::new(ErrorCode::Internal, format!("the daemon answered {status}: {text}"))
        })
        .into()
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let limited = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
    Ok(limited.collect().await.map_err(transport)?.to_bytes())
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

fn json<B: Serialize>(body: &B) -> Result<Body, ClientError> {
    let bytes = serde_json::to_vec(body).map_err(transport)?;
    Ok(Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed())
}

/// What it means that a request got no answer. A unix socket is reset (and a write fails) when its
/// peer closes it with something unread; whoever has read everything closes it cleanly.
fn unanswered(error: &hyper::Error) -> ClientError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    let source = std::error::Error::source(error).and_then(|it| it.downcast_ref());
    let kind = source.map(std::io::Error::kind);
    match kind {
        Some(ConnectionReset | BrokenPipe) => ClientError::Unheard,
        _ if error.is_canceled() => ClientError::Unheard,
        _ if error.is_incomplete_message() => ClientError::Unanswered,
        _ => transport(error),
    }
}

fn transport(error: impl std::fmt::Display) -> ClientError {
    ClientError::Transport(error.to_string())
}

#[cfg(test)]
mod tests;
