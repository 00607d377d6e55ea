//! Answers that go on: JSON line by line, and bytes as they are.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError, Output, json, transport};

/// A line is an event of a few hundred bytes.
const MAX_LINE: usize = 1 << 20;

/// JSON values, one on a line, as they come.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

/// Bytes as they come.
#[derive(Debug)]
pub struct Download {
    body: Incoming,
}

// === impl Client ===

impl Client {
    /// POSTs `body` and reads lines of JSON.
    ///
    /// # Errors
    /// The daemon refuses or is not there.
    pub async fn post_lines<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Lines, ClientError> {
        let Output { body, buffer } = self.stream(Method::POST, path, json(body)?).await?;
        Ok(Lines { body, buffer })
    }

    /// POSTs `body` and reads bytes.
    ///
    /// # Errors
    /// The daemon refuses or is not there.
    pub async fn post_bytes<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Download, ClientError> {
        let Output { body, .. } = self.stream(Method::POST, path, json(body)?).await?;
        Ok(Download { body })
    }
}

// === impl Lines ===

impl Lines {
    /// The next value; `None` at the end of the stream.
    ///
    /// # Errors
    /// The daemon went away, or said something that is no such value.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).map(Some).map_err(transport);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(transport("a line without end"));
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

// === impl Download ===

impl Download {
    /// The next piece; `None` when that was all.
    ///
    /// # Errors
    /// The daemon gave up in the middle.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(piece) = self.body.frame().await {
            if let Ok(data) = piece.map_err(transport)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
