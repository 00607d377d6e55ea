//! A flow at a fixed pace: what stalls it shows as a gap between two answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::order::Order;
use super::tcp::{MESSAGE, opened};

/// What a paced flow has seen, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Paced {
    /// How long each exchange took.
    pub(crate) exchanges_us: Vec<f64>,
    /// The longest time between two answers that follow each other; the pace is in it.
    pub(crate) longest_gap_us: f64,
}

/// Exchanges 64 bytes every `interval` over one connection until standard input ends.
pub(crate) fn run(to: SocketAddr, interval: Duration) -> Result<Paced> {
    let mut stream = opened(to).with_context(|| format!("connect to {to}"))?;
    stream.write_all(&Order::Echo.encode(false))?;
    exchange(&mut stream)?;
    println!("ready");
    let ended = input_ends();
    let mut paced = Paced::default();
    let (mut due, mut last) = (Instant::now(), None);
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += interval;
        let begun = Instant::now();
        exchange(&mut stream).context("the flow broke")?;
        paced.note(begun, last.replace(Instant::now()));
    }
    Ok(paced)
}

fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    let mut message = [0x5a; MESSAGE];
    stream.write_all(&message)?;
    stream.read_exact(&mut message)
}

/// A flag that is set when standard input has ended.
fn input_ends() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let its = Arc::clone(&ended);
    std::thread::spawn(move || {
        // A broken pipe is an end, too.
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        its.store(true, Ordering::Relaxed);
    });
    ended
}

// === impl Paced ===

impl Paced {
    fn note(&mut self, begun: Instant, last: Option<Instant>) {
        let now = Instant::now();
        self.exchanges_us.push((now - begun).as_secs_f64() * 1e6);
        if let Some(last) = last {
            self.longest_gap_us = self.longest_gap_us.max((now - last).as_secs_f64() * 1e6);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_answers() {
        let start = Instant::now().checked_sub(Duration::from_millis(50)).unwrap();
        let mut paced = Paced::default();
        paced.note(start, None);
        assert!(paced.longest_gap_us < 1.0);
        paced.note(Instant::now(), Some(start));
        assert!(paced.longest_gap_us >= 50e3);
        assert_eq!(paced.exchanges_us.len(), 2);
    }
}
