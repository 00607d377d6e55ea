//! What is typed or piped in, on its way to a container.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, Stdin};

use super::keys::{DetachKeys, Filter, Typed};

/// Much less than a frame may hold, and as much as a pipe does.
const PIECE: usize = 64 << 10;

/// Standard input, as far as it is attached.
pub(super) struct Input {
    stdin: Option<Stdin>,
    filter: Option<Filter>,
    buffer: Vec<u8>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes for the container; none at times.
    Bytes(Bytes),
    /// There are no more.
    End(Bytes),
    /// Somebody wants to leave, after these.
    Detach(Bytes),
}

// === impl Input ===

impl Input {
    /// With `keys`, they are looked for, as on a terminal.
    pub(super) fn new(attached: bool, keys: Option<DetachKeys>) -> Self {
        let stdin = attached.then(tokio::io::stdin);
        Self { stdin, filter: keys.map(Filter::new), buffer: vec![0; PIECE] }
    }

    /// Waits for the next piece, for ever if there is none. Nothing is lost when this is given up
    /// before it is done.
    pub(super) async fn next(&mut self) -> Piece {
        let Some(stdin) = &mut self.stdin else { return std::future::pending().await };
        // One that cannot be read has nothing more to say.
        let count = stdin.read(&mut self.buffer).await.unwrap_or(0);
        let bytes = self.buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            self.stdin = None;
            return Piece::End(self.filter.as_mut().map(Filter::rest).unwrap_or_default().into());
        }
        match &mut self.filter {
            None => Piece::Bytes(Bytes::copy_from_slice(bytes)),
            Some(filter) => match filter.pass(bytes) {
                Typed::Text(text) => Piece::Bytes(text.into()),
                Typed::Detach(text) => Piece::Detach(text.into()),
            },
        }
    }
}
