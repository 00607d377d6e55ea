//! The host's resolvers, as its `resolv.conf` names them now.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use wharf_host::link::Links;

use crate::resolv_conf::{Nameserver, ResolvConf};

/// libc asks no more (`MAXNS`).
const RESOLVERS: usize = 3;
const PORT: u16 = 53;

/// The host's resolvers; the file is read again when it has changed.
#[derive(Debug)]
pub(crate) struct HostResolvers {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    resolvers: Vec<SocketAddr>,
}

/// What changes with the file: it is often replaced by another, and as often written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

// === impl HostResolvers ===

impl HostResolvers {
    pub(crate) fn of(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// Whom to ask, in order. A file that is not there names libc's own choice.
    pub(crate) fn now(&self) -> Vec<SocketAddr> {
        let stamp = std::fs::metadata(&self.path).ok().map(|found| Stamp {
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            size: found.len(),
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.resolvers.is_empty() || known.stamp != stamp {
            let text = std::fs::read_to_string(&self.path).unwrap_or_default();
            let named = ResolvConf::parse(&text).resolvers();
            known.resolvers = named.iter().filter_map(socket_address).take(RESOLVERS).collect();
            known.stamp = stamp;
        }
        known.resolvers.clone()
    }
}

/// A link-local address of an interface that is not there can be asked by nobody.
fn socket_address(server: &Nameserver) -> Option<SocketAddr> {
    let (IpAddr::V6(v6), Some(scope)) = (server.address, &server.scope) else {
        return Some(SocketAddr::new(server.address, PORT));
    };
    let number = match scope.parse() {
        Ok(number) => number,
        Err(_) => Links::open().ok()?.find(scope).ok()??.index,
    };
    Some(SocketAddrV6::new(v6, PORT, 0, number).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let host = HostResolvers::of(path.clone());
        let now = || host.now().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(now(), ["127.0.0.1:53"]);
        std::fs::write(&path, "nameserver 192.0.2.1\nnameserver 2001:db8::1\n").unwrap();
        assert_eq!(now(), ["192.0.2.1:53", "[2001:db8::1]:53"]);
        std::fs::write(&path, "nameserver 192.0.2.22\n").unwrap();
        assert_eq!(now(), ["192.0.2.22:53"]);
        std::fs::write(&path, "nameserver fe80::1%7\nnameserver fe80::1%no-such-link\n").unwrap();
        assert_eq!(now(), ["[fe80::1%7]:53"]);
    }
}
