//! The drop filter: a socket that has it discards every packet.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use socket2::{SockFilter, SockRef};

/// BPF_RET | BPF_K with 0: keep no byte of the packet, that is, drop it.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// The same in eBPF, `r0 = 0; exit`, in the layout of `struct bpf_insn`.
const DROP_ALL_EBPF: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// From linux/bpf.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD` (Linux 3.18).
#[repr(C)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
}

/// How to attach the drop filter to many sockets.
#[derive(Debug)]
pub(super) enum DropFilter {
    /// The kernel compiles a copy for every socket (7 µs and a page of memory each).
    Each,
    /// One loaded program that all sockets share.
    Shared(OwnedFd),
}

/// Attaches the drop filter to a socket: every packet for it is discarded from now on.
pub fn close_to_traffic(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket.as_fd()).attach_filter(&DROP_ALL)
}

/// Detaches the drop filter; a socket without one is left as it is.
pub fn open_to_traffic(socket: impl AsFd) -> io::Result<()> {
    match SockRef::from(&socket.as_fd()).detach_filter() {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

// === impl DropFilter ===

impl DropFilter {
    /// A filter that is cheap to attach often, where this process may load one.
    pub(super) fn for_many() -> Self {
        load().map_or(Self::Each, Self::Shared)
    }

    /// Attaches it to `socket`.
    pub(super) fn attach(&self, socket: impl AsFd) -> io::Result<()> {
        match self {
            Self::Each => close_to_traffic(socket),
            Self::Shared(program) => attach_program(socket, program),
        }
    }
}

#[expect(unsafe_code, reason = "bpf(2) has no wrapper among our crates")]
fn load() -> io::Result<OwnedFd> {
    let load = ProgLoad {
        kind: BPF_PROG_TYPE_SOCKET_FILTER,
        instruction_count: 2,
        instructions: address(DROP_ALL_EBPF.as_ptr().addr()),
        license: address(c"Dual MIT/GPL".as_ptr().addr()),
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
    };
    // SAFETY: `load` and what it points to live across the call, and its size is passed.
    // JUSTIFICATION: a shared program makes reserving thousands of ports twice as fast.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<ProgLoad>())
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just made this descriptor (close-on-exec, always) for us alone.
    // JUSTIFICATION: it must be closed with its owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address(pointer: usize) -> u64 {
    u64::try_from(pointer).unwrap_or(0)
}

#[expect(unsafe_code, reason = "neither rustix nor socket2 offers SO_ATTACH_BPF")]
fn attach_program(socket: impl AsFd, program: &OwnedFd) -> io::Result<()> {
    let fd: libc::c_int = program.as_raw_fd();
    let size = libc::socklen_t::try_from(size_of_val(&fd)).unwrap_or(0);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_BPF);
    let socket = socket.as_fd();
    // SAFETY: `fd` lives across the call and its size is passed; both descriptors are live.
    // JUSTIFICATION: see the item.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const fd).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
