//! A connection that has become one of frames, both ways.

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{Client, ClientError, json, refusal, transport};
use crate::frame::Frame;

/// What a connection of frames is asked for by, in the header `Upgrade`.
pub const PROTOCOL: &str = "wharf-frames";
/// The header of an answer that says by which id the command can be attached to again.
pub const EXEC_HEADER: &str = "wharf-exec";

const PIECE: usize = 64 << 10;

type Io = TokioIo<Upgraded>;

/// A connection to the streams of a container or command.
#[derive(Debug)]
pub struct Connection {
    /// What the daemon sends.
    pub reader: FrameReader,
    /// What it is sent.
    pub writer: FrameWriter,
    /// The id of the command, if it is one.
    pub command: Option<String>,
}

/// Frames from the daemon.
#[derive(Debug)]
pub struct FrameReader {
    io: ReadHalf<Io>,
    buffer: BytesMut,
}

/// Frames to the daemon.
#[derive(Debug)]
pub struct FrameWriter(WriteHalf<Io>);

// === impl Client ===

impl Client {
    /// POSTs `body` to `path` and goes on in frames.
    pub async fn attach<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Connection, ClientError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "wharf")
            .header("content-type", "application/json")
            .header("connection", "upgrade")
            .header("upgrade", PROTOCOL)
            .body(json(body)?)
            .map_err(transport)?;
        let response = self.exchange(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        let command = response.headers().get(EXEC_HEADER).and_then(|id| id.to_str().ok());
        let command = command.map(str::to_owned);
        let io = TokioIo::new(hyper::upgrade::on(response).await.map_err(transport)?);
        let (reader, writer) = tokio::io::split(io);
        let reader = FrameReader { io: reader, buffer: BytesMut::new() };
        Ok(Connection { reader, writer: FrameWriter(writer), command })
    }
}

// === impl FrameReader ===

impl FrameReader {
    /// The next frame; `None` when the daemon has gone. Nothing is lost when this is given up before
    /// it is done.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            if let Some(frame) = Frame::decode(&mut self.buffer).map_err(transport)? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(PIECE);
            match self.io.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Ok(None),
            }
        }
    }
}

// === impl FrameWriter ===

impl FrameWriter {
    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), ClientError> {
        let sent = async {
            self.0.write_all(&frame.encode()).await?;
            self.0.flush().await
        };
        sent.await.map_err(transport)
    }
}
