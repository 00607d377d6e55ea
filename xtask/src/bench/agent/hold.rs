//! Connections that do nothing.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};
use wharf_host::process::raise_descriptor_limit;

use super::tcp::{MESSAGE, opened};

/// Opens connections, each used once so that it exists from end to end, and keeps them until
/// standard input ends.
pub(crate) fn run(to: SocketAddr, connections: usize) -> Result<()> {
    raise_descriptor_limit()?;
    let held: io::Result<Vec<TcpStream>> = (0..connections).map(|_| used(to)).collect();
    let held = held.with_context(|| format!("open {connections} connections to {to}"))?;
    println!("ready");
    io::copy(&mut io::stdin(), &mut io::sink()).context("wait for the end of standard input")?;
    drop(held);
    Ok(())
}

fn used(to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = opened(to)?;
    let mut message = [0x5a; MESSAGE];
    stream.write_all(&message)?;
    stream.read_exact(&mut message)?;
    Ok(stream)
}
