//! Why a port cannot be served, in the words Docker's users know.

use std::io;
use std::net::SocketAddr;

use wharf_host::diag::Holder;
use wharf_spec::Proto;

/// Why a port cannot be had, or not be served.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The address and port cannot be bound. The text is Go's, followed by who holds the port:
    /// people and scripts look for `bind: address already in use`.
    #[error("listen {}: {}{}", network(*proto, *at), cause(source), held_by(holder.as_ref()))]
    Bind {
        /// The protocol.
        proto: Proto,
        /// What was to be bound.
        at: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
        /// Who holds the port, if that is the trouble and can be seen.
        holder: Option<Holder>,
    },
    /// A protocol the relay does not carry.
    #[error(
        "{proto} is not relayed: only tcp and udp are; publish {proto} ports with docker's own \
         docker-proxy, or without a userland proxy"
    )]
    Protocol {
        /// The protocol.
        proto: Proto,
    },
    /// The socket that was handed to this process is not the one announced.
    #[error("the socket handed over for {proto} {at} {reason}")]
    Inherited {
        /// The protocol.
        proto: Proto,
        /// What it should have been bound to.
        at: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine could not be started.
    #[error(transparent)]
    Relay(#[from] crate::error::Error),
}

/// Go's name of a protocol of one address family.
fn network(proto: Proto, at: SocketAddr) -> String {
    let family = if at.is_ipv4() { 4 } else { 6 };
    format!("{proto}{family} {at}")
}

/// Go's words for a failed system call: its name and the error without a number.
fn cause(source: &io::Error) -> String {
    let call = match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        // What a host without IPv6 says, before anything can be bound.
        Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::MFILE) => "socket",
        _ => "bind",
    };
    let text = source.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase());
    let text: String = first.into_iter().chain(letters).collect();
    format!("{call}: {text}")
}

fn held_by(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid: Some(pid), name: Some(name), .. }) => format!(" ({name}, pid {pid})"),
        Some(Holder { pid: Some(pid), .. }) => format!(" (pid {pid})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(at: &str, errno: rustix::io::Errno, holder: Option<Holder>) -> String {
        let (proto, at) = (Proto::Tcp, at.parse().unwrap());
        PortError::Bind { proto, at, source: errno.into(), holder }.to_string()
    }

    #[test]
    fn binding_fails_in_the_words_of_go() {
        let holder = Holder { pid: Some(4242), name: Some("nginx".to_owned()), inode: 1 };
        assert_eq!(
            bind("0.0.0.0:8080", rustix::io::Errno::ADDRINUSE, Some(holder)),
            "listen tcp4 0.0.0.0:8080: bind: address already in use (nginx, pid 4242)"
        );
        assert_eq!(
            bind("192.0.2.9:80", rustix::io::Errno::ADDRNOTAVAIL, None),
            "listen tcp4 192.0.2.9:80: bind: cannot assign requested address"
        );
        assert_eq!(
            bind("[::]:80", rustix::io::Errno::AFNOSUPPORT, None),
            "listen tcp6 [::]:80: socket: address family not supported by protocol"
        );
    }

    #[test]
    fn a_protocol_that_is_not_carried_says_what_to_do() {
        let text = PortError::Protocol { proto: Proto::Sctp }.to_string();
        assert!(text.starts_with("sctp is not relayed: only tcp and udp are; "), "{text}");
    }
}
