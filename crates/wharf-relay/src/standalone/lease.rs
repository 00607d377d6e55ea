//! A port handed to the relay for as long as this process lives.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use wharf_host::reserve::open_to_traffic;

use super::port::Port;
use super::route;
use crate::client::RelayClient;
use crate::error::{During, Error, Result};
use crate::protocol::Refusal;

/// dockerd gives its proxy 16 s in all; a relay that said hello answers at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A route of the relay that ends with this connection to it.
#[derive(Debug)]
pub(super) struct Lease {
    client: RelayClient,
    id: String,
}

// === impl Lease ===

impl Lease {
    /// Hands a copy of the port's socket to the relay at `socket`, and has it serve the port.
    ///
    /// # Errors
    /// When there is no relay, or it serves another network namespace, or refuses.
    pub(super) fn take(port: &Port, socket: &Path, namespace: u64) -> Result<Self> {
        let mut client = RelayClient::connect_within(socket, ANSWER_LIMIT)?;
        let theirs = client.namespace();
        if theirs != namespace {
            return Err(Error::Protocol(format!(
                "the relay at {} serves network namespace {theirs}, not {namespace}",
                socket.display()
            )));
        }
        let route = route::of(port);
        let id = route.id.clone();
        match client.add(vec![route], &[port.socket()]) {
            // It has the route from its predecessor, which left it to us to lease it anew.
            Ok(()) | Err(Error::Refused(Refusal::Duplicate { .. })) => {}
            Err(error) => return Err(error),
        }
        if let Err(error) = client.open_leased(std::slice::from_ref(&id)) {
            // It puts the drop filter back, on the socket that may be served here meanwhile.
            open_to_traffic(port.socket()).during(|| format!("open {port}"))?;
            return Err(error);
        }
        Ok(Self { client, id })
    }

    /// The relay's process.
    pub(super) fn pid(&self) -> u32 {
        self.client.pid()
    }

    /// Takes the port back from the relay: it has closed its copy when this returns.
    pub(super) fn release(mut self) {
        match self.client.remove(&[self.id], None) {
            Ok(_) | Err(Error::Closed) => {}
            // It closes its copy when the connection ends, a moment later.
            Err(error) => tracing::warn!(%error, "the relay did not give the port back"),
        }
    }
}

impl AsFd for Lease {
    /// The connection; it becomes readable when the relay ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }
}
