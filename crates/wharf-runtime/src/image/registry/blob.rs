//! Downloading a blob into a file, going on where an earlier try stopped.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_RANGE;
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::BlobPlace;
use super::client::Registry;
use super::place::Place;
use super::retry::Tries;
use super::wire::{Fault, refused, said};
use crate::error::{Error, Result};
use crate::image::downloads::Partial;

/// A connection that carries nothing for this long is dead.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// What may wait for the disk: pieces of some kilobytes each.
const PIECES: usize = 64;

/// What a download tells while it goes on.
pub(crate) trait Watch: Send + Sync {
    /// So many bytes are there.
    fn reached(&self, bytes: u64);
    /// It failed and is tried again after a pause.
    fn again(&self, reason: &Error, pause: Duration);
}

// === impl Registry ===

impl Registry {
    /// Completes `partial` with the bytes of `blob`, which have its digest then.
    ///
    /// # Errors
    /// The registry gives other bytes or none, or the disk is full. What came stays for the next
    /// try, unless it is known to be wrong.
    pub(crate) async fn download(
        &self,
        blob: &BlobPlace,
        partial: Partial,
        watch: &dyn Watch,
    ) -> Result<()> {
        let mut tries = Tries::patient();
        let mut partial = partial;
        // What an earlier try left may be wrong; what came in one piece is the registry's own fault.
        let mut begun_elsewhere = partial.length() > 0;
        loop {
            let before = partial.length();
            watch.reached(before);
            let (back, fetched) = self.fetch(blob, partial, watch).await?;
            partial = back;
            match fetched {
                Ok(()) => match partial.is(&blob.digest) {
                    true => return Ok(()),
                    false if begun_elsewhere => {
                        begun_elsewhere = false;
                        partial.restart()?;
                        continue;
                    }
                    false => return Err(self.damaged(blob, partial).await?),
                },
                Err(Fault::Final(error)) => return Err(error),
                Err(fault) => {
                    if partial.length() > before {
                        tries.progressed();
                    }
                    let asked = match &fault {
                        Fault::Again(_, asked) => *asked,
                        _ => None,
                    };
                    let error = fault.into_error();
                    let Some(pause) = tries.failed(asked) else { return Err(error) };
                    watch.again(&error, pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn damaged(&self, blob: &BlobPlace, mut partial: Partial) -> Result<Error> {
        let found = partial.digest();
        partial.restart()?;
        let expected = &blob.digest;
        let reason = format!("damaged blob: its digest is {found}, {expected} was expected");
        Ok(Error::Registry { registry: self.name().to_owned(), reason })
    }

    /// One request; the file comes back with what has come.
    async fn fetch(
        &self,
        blob: &BlobPlace,
        mut partial: Partial,
        watch: &dyn Watch,
    ) -> Result<(Partial, Result<(), Fault>)> {
        if partial.length() > blob.size {
            partial.restart()?;
        }
        if partial.length() == blob.size {
            return Ok((partial, Ok(())));
        }
        let (place, answer) = match self.bytes(blob, partial.length()).await {
            Ok(answered) => answered,
            Err(fault) => return Ok((partial, Err(fault))),
        };
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&answer, partial.length()) => {}
            // The whole again, from a server that knows no ranges.
            StatusCode::OK => partial.restart()?,
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
                partial.restart()?;
                return Ok((partial, Err(Fault::again(&place, "it has another range"))));
            }
            _ => {
                let reason = format!("blob {}: {}", blob.digest, said(answer).await);
                return Ok((partial, Err(Fault::last(&place, reason))));
            }
        }
        pour(&place, answer.into_body(), partial, blob.size, watch).await
    }
}

fn starts_at(answer: &Response<Incoming>, offset: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let first = range.and_then(|range| range.trim().strip_prefix("bytes"));
    let first = first.and_then(|range| range.trim().split('-').next());
    first.and_then(|first| first.parse().ok()) == Some(offset)
}

/// Writes what comes to the file. Digest and disk are work for a thread that may block.
async fn pour(
    place: &Place,
    mut body: Incoming,
    mut partial: Partial,
    size: u64,
    watch: &dyn Watch,
) -> Result<(Partial, Result<(), Fault>)> {
    let mut reached = partial.length();
    let (pieces, mut arriving) = mpsc::channel::<Bytes>(PIECES);
    let writer = tokio::task::spawn_blocking(move || {
        let mut written = Ok(());
        while let Some(piece) = arriving.blocking_recv() {
            written = partial.append(&piece);
            if written.is_err() {
                break;
            }
        }
        (partial, written)
    });
    let mut outcome = Ok(());
    while reached < size {
        let piece = match timeout(STALL_LIMIT, body.frame()).await {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(Some(Err(error))) => {
                outcome = Err(Fault::again(place, format!("the connection broke: {error}")));
                break;
            }
            Ok(None) => {
                let text = format!("the connection ended after {reached} of {size} bytes");
                outcome = Err(Fault::again(place, text));
                break;
            }
            Err(_) => {
                let limit = STALL_LIMIT.as_secs();
                outcome = Err(Fault::again(place, format!("nothing came for {limit} s")));
                break;
            }
        };
        reached = reached.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if reached > size {
            let reason = format!("it sends more than the {size} bytes it said");
            outcome = Err(Fault::Final(refused(place, reason)));
            break;
        }
        // Nobody listens when the disk refused; what it said comes with the file.
        if pieces.send(piece).await.is_err() {
            break;
        }
        watch.reached(reached);
    }
    drop(pieces);
    let (partial, written) = writer.await.map_err(|e| refused(place, e))?;
    written?;
    Ok((partial, outcome))
}
