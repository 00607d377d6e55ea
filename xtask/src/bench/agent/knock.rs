//! New connections one after the other: how long the first packet takes, and the first answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::tcp::MESSAGE;

/// A first packet that was lost is sent again after a second.
const LIMIT: Duration = Duration::from_secs(5);

/// Times of connections that followed each other, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Knocked {
    /// Until the connection was there.
    pub(crate) connect_us: Vec<f64>,
    /// Until 64 bytes had gone there and come back, too.
    pub(crate) answer_us: Vec<f64>,
}

/// Connects `times` times, to each of the addresses in turn.
pub(crate) fn run(to: &[SocketAddr], times: usize) -> Result<Knocked> {
    let mut knocked = Knocked::default();
    for address in to.iter().cycle().take(times) {
        knocked.visit(*address).with_context(|| format!("visit {address}"))?;
    }
    Ok(knocked)
}

// === impl Knocked ===

impl Knocked {
    fn visit(&mut self, to: SocketAddr) -> Result<()> {
        let since = |begun: Instant| begun.elapsed().as_secs_f64() * 1e6;
        let begun = Instant::now();
        let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
        self.connect_us.push(since(begun));
        stream.set_read_timeout(Some(LIMIT))?;
        let mut message = [0x5a; MESSAGE];
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        self.answer_us.push(since(begun));
        // The server closes first, so that the client's port is free at once.
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}
