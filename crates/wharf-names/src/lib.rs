//! Names of containers: who is called what on which network, what a question is answered, and the
//! server that does so inside each container's network namespace.
//!
//! The first half is values without I/O: the [`Directory`] says who finds whom, [`answer`] turns a
//! question's bytes into an answer's, [`resolv_conf`] reads and writes the file of that name. The
//! second half opens sockets inside a container's namespace ([`Inside`]) and serves them
//! ([`Server`]); what is no container's name goes to the host's resolvers, from the host's
//! namespace, because these often listen on the host's loopback only.
//!
//! What a network, a container's life or the ledger is, is not known here.

pub mod answer;
mod connection;
mod counters;
mod directory;
mod error;
mod host;
mod inside;
pub mod resolv_conf;
mod server;
mod upstream;

pub use counters::Counters;
pub use directory::{Asker, Directory, Entry, Scope};
pub use error::{Error, Result};
pub use inside::{ADDRESS, Inside};
pub use server::{Server, Source};
