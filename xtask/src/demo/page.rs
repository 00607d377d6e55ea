//! Fetching the page by every address, and what the container saw of each visitor.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wharf_lab::http;

/// A web server that is not there by then will not come; the visits then say what is wrong.
const START_LIMIT: Duration = Duration::from_secs(5);
const START_POLL: Duration = Duration::from_millis(10);

/// The visits paid so far.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    paid: usize,
    failed: usize,
}

/// One visit, as the container saw it.
#[derive(Debug)]
struct Seen {
    address: SocketAddr,
    took: Duration,
}

// === impl Visits ===

impl Visits {
    /// Waits until the page can be had over the connection that `connect` makes: the program in the
    /// container may still be starting.
    pub(crate) fn await_page(connect: impl Fn() -> io::Result<TcpStream>) {
        let deadline = Instant::now() + START_LIMIT;
        while visit(&connect).is_err() && Instant::now() < deadline {
            std::thread::sleep(START_POLL);
        }
    }

    /// Fetches the page over the connection that `connect` makes and prints one line.
    pub(crate) fn pay(&mut self, line: &str, connect: impl Fn() -> io::Result<TcpStream>) {
        self.note(line, visit(connect));
    }

    /// As [`Visits::pay`]; the container must have seen `source`.
    pub(crate) fn pay_as(
        &mut self,
        line: &str,
        source: &str,
        connect: impl Fn() -> io::Result<TcpStream>,
    ) {
        let seen = visit(connect).and_then(|seen| {
            let own = seen.address.ip().to_canonical().to_string() == source;
            ensure!(own, "the container saw {}, not {source}", seen.address);
            Ok(seen)
        });
        self.note(line, seen);
    }

    /// An error if any visit failed.
    pub(crate) fn verdict(&self) -> Result<()> {
        let Self { paid, failed } = self;
        if *failed > 0 {
            bail!("{failed} of {paid} ways to the page failed");
        }
        println!("the page came by all {paid} ways");
        Ok(())
    }

    fn note(&mut self, line: &str, outcome: Result<Seen>) {
        self.paid += 1;
        match outcome {
            Ok(Seen { address, took }) => {
                println!(
                    "  ok  {:>6.1} ms  {line:<44} seen as {address}",
                    took.as_secs_f64() * 1e3
                );
            }
            Err(error) => {
                self.failed += 1;
                println!("  FAILED         {line:<44} {error:#}");
            }
        }
    }
}

/// Fetches `/` and then `/api`, which tells the client's address as the container saw it.
fn visit(connect: impl Fn() -> io::Result<TcpStream>) -> Result<Seen> {
    let start = Instant::now();
    let page = http::get(connect().context("connect")?, "demo", "/")?;
    ensure!(page.status == 200 && !page.body.is_empty(), "status {}", page.status);
    let took = start.elapsed();
    let about = http::get(connect().context("connect again")?, "demo", "/api")?.json()?;
    let seen = about.get("remoteAddr").and_then(Value::as_str).context("no remoteAddr in /api")?;
    let address = seen.parse().with_context(|| format!("remoteAddr {seen:?}"))?;
    Ok(Seen { address, took })
}
