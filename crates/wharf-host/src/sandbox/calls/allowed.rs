//! Which calls each profile keeps.

use std::io;

use libc::c_long;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::{Rules, WHAT};
use crate::error::{Error, Result};
use crate::sandbox::Profile;

/// What any program of ours does: memory, time, signals to itself, its own identity, open
/// descriptors, its end.
const COMMON: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sigaltstack,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
];

/// What a runtime with threads does, and the carrying itself.
const RELAY: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_capget,
    libc::SYS_close_range,
    libc::SYS_connect,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    // For rings that were made before, which can do nothing but send, see `crate::outbox`.
    libc::SYS_io_uring_enter,
    libc::SYS_membarrier,
    libc::SYS_pipe2,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sendmmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_splice,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
];

/// Names that later architectures no longer have.
#[cfg(target_arch = "x86_64")]
const COMMON_OLD: &[c_long] = &[libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const COMMON_OLD: &[c_long] = &[];
#[cfg(target_arch = "x86_64")]
const RELAY_OLD: &[c_long] = &[libc::SYS_dup2, libc::SYS_epoll_wait, libc::SYS_pipe];
#[cfg(not(target_arch = "x86_64"))]
const RELAY_OLD: &[c_long] = &[];

#[cfg(target_arch = "x86_64")]
const UNLINK: &[c_long] = &[libc::SYS_unlinkat, libc::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const UNLINK: &[c_long] = &[libc::SYS_unlinkat];

/// `FIONBIO`, `FIOCLEX`, `FIONREAD` (also `SIOCINQ`), `SIOCOUTQ` and `SIOCOUTQNSD`, of
/// asm-generic/ioctls.h and linux/sockios.h; the constants of libc differ in type between C
/// libraries.
const IOCTLS: [u64; 5] = [0x5421, 0x5451, 0x541B, 0x5411, 0x894B];

const FCNTLS: [i32; 8] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETPIPE_SZ,
    libc::F_SETPIPE_SZ,
];

/// Flags of clone that make a namespace.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// A socket's type without `SOCK_CLOEXEC` and `SOCK_NONBLOCK` (`SOCK_TYPE_MASK`, linux/net.h).
const SOCKET_TYPE: u64 = 0xf;

/// The rules of `profile`; with `removal`, files may be removed, too.
pub(in crate::sandbox) fn allowed(profile: Profile, removal: bool) -> Result<Rules> {
    let mut list = AllowList::default();
    common(&mut list)?;
    match profile {
        Profile::Relay => relay(&mut list)?,
        Profile::Opener => {
            list.when(libc::SYS_setns, &[Test::is(1, bits(libc::CLONE_NEWNET))])?;
        }
    }
    if removal {
        list.always(UNLINK);
    }
    Ok(list.rules)
}

fn common(list: &mut AllowList) -> Result<()> {
    list.always(COMMON);
    list.always(COMMON_OLD);
    list.when(libc::SYS_mmap, &[Test::lacks(2, libc::PROT_EXEC)])?;
    list.when(libc::SYS_mprotect, &[Test::lacks(2, libc::PROT_EXEC)])?;
    // abort() and panics that may not unwind.
    list.when(libc::SYS_tgkill, &[Test::is(0, u64::from(std::process::id()))])?;
    internet_sockets(list)
}

fn relay(list: &mut AllowList) -> Result<()> {
    list.always(RELAY);
    list.always(RELAY_OLD);
    let thread = libc::CLONE_THREAD | libc::CLONE_VM;
    list.when(libc::SYS_clone, &[Test::masked(0, bits(thread | NAMESPACES), bits(thread))])?;
    list.when(libc::SYS_prctl, &[Test::is(0, bits(libc::PR_SET_NAME))])?;
    // The calling thread's own; a process of the same user could be moved otherwise.
    list.when(libc::SYS_sched_setaffinity, &[Test::is(0, 0)])?;
    // Its own limits, and only to read them.
    list.when(libc::SYS_prlimit64, &[Test::is(0, 0), Test::null(2)])?;
    for request in IOCTLS {
        list.when(libc::SYS_ioctl, &[Test::is(1, request)])?;
    }
    for command in FCNTLS {
        list.when(libc::SYS_fcntl, &[Test::is(1, bits(command))])?;
    }
    // The runtime wakes itself after a signal by such a pair. A pair of datagram sockets could be
    // connected to somebody else's socket later, a stream cannot.
    let stream = Test::masked(1, SOCKET_TYPE, bits(libc::SOCK_STREAM));
    list.when(libc::SYS_socketpair, &[Test::is(0, bits(libc::AF_UNIX)), stream])
}

/// TCP and UDP by their usual names; no MPTCP, ICMP or raw sockets.
fn internet_sockets(list: &mut AllowList) -> Result<()> {
    let kinds = [
        (libc::SOCK_STREAM, 0),
        (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        (libc::SOCK_DGRAM, 0),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    ];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in kinds {
            let tests = [
                Test::is(0, bits(family)),
                Test::masked(1, SOCKET_TYPE, bits(kind)),
                Test::is(2, bits(protocol)),
            ];
            list.when(libc::SYS_socket, &tests)?;
        }
    }
    Ok(())
}

fn bits(flags: i32) -> u64 {
    u64::from(flags.cast_unsigned())
}

#[derive(Debug, Default)]
struct AllowList {
    rules: Rules,
}

/// A demand on one argument: that those of its bits that are in `mask` equal `value`.
#[derive(Debug, Clone, Copy)]
struct Test {
    argument: u8,
    length: Length,
    mask: u64,
    value: u64,
}

/// How much of a register the kernel looks at.
#[derive(Debug, Clone, Copy)]
enum Length {
    Half,
    Whole,
}

// === impl AllowList ===

impl AllowList {
    fn always(&mut self, calls: &[c_long]) {
        self.rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    }

    /// Allows `call` when all `tests` hold; said again, it is one more way to be allowed.
    fn when(&mut self, call: c_long, tests: &[Test]) -> Result<()> {
        let conditions = tests.iter().copied().map(SeccompCondition::try_from);
        let rule = conditions
            .collect::<std::result::Result<Vec<_>, _>>()
            .and_then(SeccompRule::new)
            .map_err(|e| Error::kernel(WHAT, io::Error::other(e)))?;
        self.rules.entry(call).or_default().push(rule);
        Ok(())
    }
}

// === impl Test ===

impl Test {
    fn is(argument: u8, value: u64) -> Self {
        Self::masked(argument, u64::from(u32::MAX), value)
    }

    fn lacks(argument: u8, flag: i32) -> Self {
        Self::masked(argument, bits(flag), 0)
    }

    fn masked(argument: u8, mask: u64, value: u64) -> Self {
        Self { argument, length: Length::Half, mask, value }
    }

    fn null(argument: u8) -> Self {
        Self { argument, length: Length::Whole, mask: u64::MAX, value: 0 }
    }
}

impl TryFrom<Test> for SeccompCondition {
    type Error = seccompiler::BackendError;

    fn try_from(test: Test) -> std::result::Result<Self, Self::Error> {
        let length = match test.length {
            Length::Half => SeccompCmpArgLen::Dword,
            Length::Whole => SeccompCmpArgLen::Qword,
        };
        Self::new(test.argument, length, SeccompCmpOp::MaskedEq(test.mask), test.value)
    }
}
