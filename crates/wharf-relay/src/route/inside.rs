//! Targets inside other network namespaces, and the helpers that open sockets there.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use wharf_host::opener::{Domain, Kind, Opener};

use crate::limits::Share;

/// What is left of things no longer used is dropped when there is twice as much as there was, and
/// this.
const LEAST: usize = 64;

/// A network namespace that sockets are opened in by another process.
#[derive(Debug)]
pub(crate) struct Inside {
    opener: Arc<Opener>,
    namespace: Arc<OwnedFd>,
    /// Which namespace it is, whatever descriptor leads to it.
    identity: Identity,
    _share: Share,
}

/// The two descriptors of such a route, as they came with a request.
#[derive(Debug)]
pub(crate) struct Entrance {
    opener: (Identity, OwnedFd),
    namespace: (Identity, OwnedFd),
}

/// Helpers and namespaces in use, each once, however many routes came with a copy. For helpers
/// that is a must: two that read from one connection would take each other's answers.
#[derive(Debug, Default)]
pub(crate) struct Insides {
    openers: Shelf<Opener>,
    namespaces: Shelf<OwnedFd>,
}

/// Device and inode number: the same for all copies of a descriptor, and for nothing else as long
/// as one of them is open.
type Identity = (u64, u64);

#[derive(Debug)]
struct Shelf<T> {
    known: HashMap<Identity, Weak<T>>,
    most: usize,
}

// === impl Inside ===

impl Inside {
    /// A socket of the family of `target`. Takes some 70 µs, and a quarter of a second at most.
    pub(crate) fn open(&self, target: SocketAddr, kind: Kind) -> io::Result<OwnedFd> {
        let domain = if target.is_ipv4() { Domain::Ipv4 } else { Domain::Ipv6 };
        self.opener.open(self.namespace.as_fd(), domain, kind)
    }

    /// What another relay needs, too.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.opener.as_fd(), self.namespace.as_fd()]
    }

    /// The namespace, to be told from others.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }
}

// === impl Entrance ===

impl Entrance {
    /// Looks at the connection to a helper and a namespace.
    ///
    /// # Errors
    /// What is wrong with them, after the words "the socket for".
    pub(crate) fn new(opener: OwnedFd, namespace: OwnedFd) -> Result<Self, String> {
        let kind = socket_type(&opener).map_err(|e| format!("its helper is none: {e}"))?;
        if kind != SocketType::SEQPACKET {
            return Err("its helper is not at the other end of a seqpacket socket".to_owned());
        }
        Ok(Self {
            opener: (identity(&opener)?, opener),
            namespace: (identity(&namespace)?, namespace),
        })
    }
}

fn identity(descriptor: &OwnedFd) -> Result<Identity, String> {
    let found = rustix::fs::fstat(descriptor).map_err(|e| format!("its helper or namespace: {e}"));
    found.map(|found| (found.st_dev, found.st_ino))
}

// === impl Insides ===

impl Insides {
    pub(crate) fn adopt(&mut self, entrance: Entrance, share: Share) -> Inside {
        let Entrance { opener, namespace } = entrance;
        Inside {
            opener: self.openers.one(opener.0, || Opener::over(opener.1)),
            identity: namespace.0,
            namespace: self.namespaces.one(namespace.0, || namespace.1),
            _share: share,
        }
    }
}

// === impl Shelf ===

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), most: LEAST }
    }
}

impl<T> Shelf<T> {
    fn one(&mut self, identity: Identity, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = self.known.get(&identity).and_then(Weak::upgrade) {
            return known;
        }
        if self.known.len() >= self.most {
            self.known.retain(|_, known| known.strong_count() > 0);
            self.most = 2 * self.known.len() + LEAST;
        }
        let new = Arc::new(make());
        self.known.insert(identity, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, socketpair};

    use super::*;
    use crate::limits::Budget;

    fn helper() -> OwnedFd {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        socketpair(AddressFamily::UNIX, kind, flags, None).unwrap().0
    }

    #[test]
    fn copies_of_a_connection_are_one_helper() {
        let (mut insides, budget) = (Insides::default(), Arc::new(Budget::new(8)));
        let namespace = || OwnedFd::from(std::fs::File::open("/proc/self/ns/net").unwrap());
        let first = helper();
        let mut adopt = |opener: &OwnedFd| {
            let entrance = Entrance::new(opener.try_clone().unwrap(), namespace()).unwrap();
            insides.adopt(entrance, budget.take(2).unwrap())
        };
        let (one, same, other) = (adopt(&first), adopt(&first), adopt(&helper()));
        assert!(Arc::ptr_eq(&one.opener, &same.opener));
        assert!(Arc::ptr_eq(&one.namespace, &other.namespace));
        assert!(!Arc::ptr_eq(&one.opener, &other.opener));
        assert_eq!(one.identity(), other.identity());
    }

    #[test]
    fn what_is_no_longer_used_does_not_pile_up() {
        let mut shelf = Shelf::default();
        let kept = shelf.one((0, 0), || 7);
        for inode in 1..10_000 {
            shelf.one((0, inode), || 8);
        }
        assert!(shelf.known.len() <= LEAST + 2);
        assert_eq!((*shelf.one((0, 0), || 9), *kept), (7, 7));
    }

    #[test]
    fn what_is_no_helper_is_refused() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(Entrance::new(null(), null()).is_err());
        let (stream, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Entrance::new(stream.into(), null()).unwrap_err().contains("seqpacket"));
    }
}
