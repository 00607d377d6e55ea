//! The user-space plane: a TCP and UDP relay, a library and a process.
//!
//! The process ([`run`]) owns the listening sockets and outlives the daemon that handed them to
//! it. It needs no kernel rule: whoever reaches the socket reaches the target. The library part
//! ([`RelayClient`], [`ensure`]) is how a daemon starts, feeds and questions it.
//!
//! What it carries across: bytes, datagram boundaries (empty datagrams, too), half-closes and
//! resets; and the client's address, where that can be kept (see [`Source`]).

mod client;
mod context;
mod control;
mod engine;
mod error;
mod limits;
mod opener;
mod poller;
mod predecessor;
mod process;
mod protocol;
mod proxy_header;
mod route;
mod spawn;
pub mod standalone;
mod stats;
mod table;
mod tcp;
mod udp;
mod worker;

pub use client::RelayClient;
pub use error::{Error, Result};
pub use limits::Limits;
pub use opener::{Opener, serve_opener, start_opener};
pub use process::{Relay, RelayConfig, run};
pub use protocol::{
    Listed, PassedFlow, Phase, Place, Refusal, Request, Response, Route, Source, VERSION,
};
pub use spawn::{ensure, socket_path, upgrade};
pub use stats::{RouteStats, Stats};
