//! Network namespaces, held by descriptor.
//!
//! Entering a namespace changes the calling thread, so it is only ever done on a thread that is
//! made for it and ends afterwards; no thread of a runtime is moved. A socket opened inside keeps
//! its namespace and may be used anywhere. Nothing here leaves a name or a mount behind: a
//! namespace lives as long as a process or a descriptor holds it.

mod cookie;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

pub use self::cookie::cookie;
use crate::error::{Context, Error, Result};
use crate::link::Links;
use crate::netlink::{Family, Netlink};

/// The namespace of the calling thread; not `/proc/self`, which is the main thread's.
const OWN: &str = "/proc/thread-self/ns/net";
/// The file system that namespaces live on (`NSFS_MAGIC`, linux/magic.h).
const NSFS: i64 = 0x6e73_6673;

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

// === impl Netns ===

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::from_path(OWN)
    }

    /// The namespace of process `pid`.
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::from_path(format!("/proc/{pid}/ns/net"))
    }

    /// The namespace at `path`: a `/proc/…/ns/net` link or a file it is mounted on.
    ///
    /// # Errors
    /// When the file cannot be opened or is no namespace; one of another kind is refused on
    /// entering it.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let action = || format!("open the network namespace {}", path.display());
        // NONBLOCK: a path given by a person may be a pipe, and opening one would wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::open(path, flags, Mode::empty()).during(action)?;
        let system = rustix::fs::fstatfs(&fd).during(action)?;
        if system.f_type != NSFS {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "this is not a namespace");
            return Err(Error::kernel(action(), source));
        }
        Ok(Self { fd })
    }

    /// Makes an empty namespace with its loopback interface up; it lives as long as the value or
    /// something else holds it.
    pub fn create() -> Result<Self> {
        on_own_thread(|| {
            unshare_network()?;
            Self::current()
        })?
    }

    /// A second descriptor of the same namespace.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().during(|| "duplicate a network namespace's descriptor")?;
        Ok(Self { fd })
    }

    /// Runs `work` inside the namespace, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// When the thread cannot be made or may not enter the namespace; `work` has not run then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_own_thread(|| {
            self.enter()?;
            Ok(work())
        })?
    }

    /// Moves the calling thread into the namespace for good.
    ///
    /// For processes that have one thread: the others of a process would stay behind.
    pub fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
            .during(|| "enter a network namespace (this needs CAP_SYS_ADMIN)")
    }

    /// A netlink socket of `family` that belongs to the namespace.
    pub fn open_netlink(&self, family: Family) -> Result<Netlink> {
        self.run(|| Netlink::open(family))?
    }

    /// A number that is equal for two values if, and only if, they are the same living namespace.
    pub fn identity(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.fd).during(|| "identify a network namespace")?;
        Ok(stat.st_ino)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Moves the calling thread into a new network namespace with its loopback interface up.
///
/// For processes that have one thread: the others of a process would stay behind.
pub fn unshare_network() -> Result<()> {
    unshare(UnshareFlags::NEWNET)
        .during(|| "make a network namespace (this needs CAP_SYS_ADMIN)")?;
    Links::open()?.set_up("lo")
}

/// Moves the calling thread into a mount namespace of its own: mounts of the host still arrive,
/// none of ours leave.
///
/// For processes that have one thread: the others of a process would stay behind.
pub fn unshare_mount_private() -> Result<()> {
    unshare(UnshareFlags::NEWNS).during(|| "make a mount namespace (this needs CAP_SYS_ADMIN)")?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .during(|| "keep our mounts from the host's mount namespace")
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .during(|| "start a thread for a network namespace")?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

#[expect(unsafe_code, reason = "rustix marks unshare unsafe because of CLONE_FILES")]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: the descriptor table stays shared (the callers above pass NEWNET or NEWNS only), so
    // no descriptor becomes invalid for another thread.
    // JUSTIFICATION: there is no safe call for unshare(2).
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_new_namespace_is_another_one_and_its_loopback_works() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let here = Netns::current().unwrap().identity().unwrap();
        let new = Netns::create().unwrap();
        assert_ne!(here, new.identity().unwrap());
        assert_eq!(new.identity().unwrap(), new.try_clone().unwrap().identity().unwrap());
        let inside = new
            .run(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
                let mut byte = [0; 1];
                socket.recv(&mut byte).unwrap();
                (byte, Netns::current().unwrap().identity().unwrap())
            })
            .unwrap();
        assert_eq!(inside, (*b"x", new.identity().unwrap()));
        assert_eq!(here, Netns::current().unwrap().identity().unwrap());
    }

    #[test]
    fn a_socket_keeps_the_namespace_it_was_opened_in() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let new = Netns::create().unwrap();
        let mut links = Links::open_in(&new).unwrap();
        links.add_bridge("only-inside", None, None).unwrap();
        assert!(links.find("only-inside").unwrap().is_some());
        assert!(Links::open().unwrap().find("only-inside").unwrap().is_none());
    }

    #[test]
    fn private_mounts_and_a_private_network_can_be_taken_by_a_thread() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: unsharing needs root");
            return;
        }
        let here = Netns::current().unwrap().identity().unwrap();
        let there = on_own_thread(|| {
            unshare_network().unwrap();
            unshare_mount_private().unwrap();
            Netns::current().unwrap().identity().unwrap()
        });
        assert_ne!(here, there.unwrap());
    }

    #[test]
    fn a_missing_namespace_says_which() {
        let text = Netns::from_path("/proc/self/ns/nothing").unwrap_err().to_string();
        assert!(text.contains("/proc/self/ns/nothing"), "{text}");
        let text = Netns::from_path("/proc/self/status").unwrap_err().to_string();
        assert!(text.contains("not a namespace"), "{text}");
    }
}
