//! Why the plane cannot be had on a host, and what would help.

use std::io;

#[cfg(feature = "programs")]
use crate::error::Error;

/// What stands in the way of the plane on this host.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// This build has no programs.
    #[error("the ebpf plane is not built in: {}", self.remedy())]
    NotBuiltIn,
    /// There is no version 2 cgroup hierarchy.
    #[error("no root of a cgroup2 hierarchy is mounted: {}", self.remedy())]
    NoCgroup2,
    /// This process may not load programs.
    #[error("this process may not load ebpf programs: {}", self.remedy())]
    NotAllowed {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel is locked down against programs.
    #[error("the kernel is locked down ({mode}) and takes no ebpf programs: {}", self.remedy())]
    LockedDown {
        /// Its mode, as `/sys/kernel/security/lockdown` has it.
        mode: String,
    },
    /// The bpf file system cannot be mounted.
    #[error("a bpf file system cannot be mounted: {}", self.remedy())]
    NoFileSystem {
        /// What the kernel said.
        source: io::Error,
    },
    /// An earlier process has mounted the bpf file system where this one cannot see it.
    #[error("an earlier daemon has left the ebpf plane in another mount namespace: {}", self.remedy())]
    Elsewhere,
    /// The kernel lacks something that the programs need.
    #[error("linux {kernel} has no {what}: {}", self.remedy())]
    TooOld {
        /// Its release.
        kernel: String,
        /// What it lacks.
        what: &'static str,
    },
    /// The kernel does not accept a program.
    #[error("linux {kernel} does not take program {program} ({reason}): {}", self.remedy())]
    Refused {
        /// Its release.
        kernel: String,
        /// The program.
        program: &'static str,
        /// The last line of what its verifier said, or its error.
        reason: String,
    },
}

// === impl Obstacle ===

impl Obstacle {
    /// What would help.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotBuiltIn => {
                "build wharf with its default features, where clang, llvm and libbpf-dev are \
                 installed"
            }
            Self::NoCgroup2 => "mount one (mount -t cgroup2 none /sys/fs/cgroup/unified)",
            Self::NotAllowed { .. } => {
                "run the daemon as root of the machine, with CAP_SYS_ADMIN (which mounts the bpf file \
                 system that the programs are kept in) and CAP_NET_ADMIN"
            }
            Self::LockedDown { .. } => {
                "boot with lockdown=integrity or none; the other planes do without"
            }
            Self::NoFileSystem { .. } => {
                "the kernel needs CONFIG_BPF_SYSCALL, and the daemon CAP_SYS_ADMIN"
            }
            Self::Elsewhere => {
                "end what runs there (wharf shutdown --all), and start daemons where all see the \
                 same mounts (nsenter --net in place of ip netns exec)"
            }
            Self::TooOld { .. } => "the ebpf plane needs linux 5.19; the other planes do without",
            Self::Refused { .. } => {
                "the ebpf plane is tested with linux 6.1 and later; the other planes do without"
            }
        }
    }
}

/// Whether the plane can be had in the calling thread's network namespace: loads every program and
/// lets go of them. Nothing is attached, and nothing is left.
///
/// # Errors
/// The first obstacle.
#[cfg(feature = "programs")]
pub fn probe() -> Result<(), Obstacle> {
    crate::cgroup::open_root()?;
    match crate::object::rehearse() {
        Ok(()) => Ok(()),
        Err(Error::Obstacle(obstacle)) => Err(obstacle),
        Err(other) => {
            let kernel = crate::object::kernel();
            Err(Obstacle::Refused { kernel, program: "wharf", reason: other.to_string() })
        }
    }
}
