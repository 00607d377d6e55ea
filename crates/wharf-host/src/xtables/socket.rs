//! Asking the kernel for a table.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use crate::error::{Error, Result};
use crate::nftables::IpFamily;

/// `IPT_SO_GET_INFO`, `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES`, `IP6T_SO_GET_ENTRIES`.
const GET_ENTRIES: libc::c_int = 65;
/// `XT_TABLE_MAXNAMELEN`, with its terminating zero.
const NAME: usize = 32;
/// `struct ipt_getinfo`; that of IPv6 is the same.
const INFO: usize = 84;
/// `struct ipt_get_entries` up to the entries.
const HEADER: usize = 40;
/// Some 100,000 rules; what is larger is no firewall a person wrote, and reading it takes long.
const LARGEST: usize = 32 << 20;
/// Somebody else's change may come between asking for the size and asking for the table.
const ATTEMPTS: usize = 5;

/// What the kernel tells of a table, with its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    /// Which hooks it has chains at: bit `n` for hook `n`.
    pub(super) hooks: u32,
    /// Where the chain of each hook begins.
    pub(super) begins: [usize; 5],
    /// Where the policy of each hook's chain is.
    pub(super) policies: [usize; 5],
    /// The entries.
    pub(super) entries: Vec<u8>,
}

/// Reads table `name`; `None` if there is none.
pub(super) fn table(family: IpFamily, name: &str) -> Result<Option<Bytes>> {
    let action = || format!("read table {name} of iptables-legacy (IPv{})", version(family));
    let socket = open(family).map_err(|source| Error::kernel(action(), source))?;
    for _ in 0..ATTEMPTS {
        match attempt(&socket, family, name) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(source) => return Err(Error::kernel(action(), source)),
            Ok(bytes) => return Ok(Some(bytes)),
        }
    }
    Err(Error::answer(action(), "it changes all the time"))
}

fn version(family: IpFamily) -> u8 {
    if family == IpFamily::V4 { 4 } else { 6 }
}

fn open(family: IpFamily) -> io::Result<Socket> {
    let domain = if family == IpFamily::V4 { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, Type::DGRAM, None)
}

fn attempt(socket: &Socket, family: IpFamily, name: &str) -> io::Result<Bytes> {
    let mut info = vec![0; INFO];
    put_name(&mut info, name);
    ask(socket, family, GET_INFO, &mut info)?;
    let size = number(&info, INFO - 4).filter(|size| *size <= LARGEST).ok_or_else(too_large)?;
    let mut answer = vec![0; HEADER + size];
    put_name(&mut answer, name);
    if let (Some(slot), Ok(size)) = (answer.get_mut(NAME..NAME + 4), u32::try_from(size)) {
        slot.copy_from_slice(&size.to_ne_bytes());
    }
    ask(socket, family, GET_ENTRIES, &mut answer)?;
    let place = |first: usize| {
        std::array::from_fn(|hook| number(&info, first + 4 * hook).unwrap_or(usize::MAX))
    };
    Ok(Bytes {
        hooks: number(&info, NAME).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        begins: place(NAME + 4),
        policies: place(NAME + 24),
        entries: answer.split_off(HEADER),
    })
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {LARGEST} bytes"))
}

fn put_name(buffer: &mut [u8], name: &str) {
    for (slot, byte) in buffer.iter_mut().zip(name.bytes().take(NAME - 1)) {
        *slot = byte;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_ne_bytes(word)).ok()
}

#[expect(unsafe_code, reason = "the options of iptables have no safe wrapper among our crates")]
fn ask(
    socket: &Socket,
    family: IpFamily,
    option: libc::c_int,
    buffer: &mut [u8],
) -> io::Result<()> {
    let level = if family == IpFamily::V4 { libc::SOL_IP } else { libc::SOL_IPV6 };
    let mut size = libc::socklen_t::try_from(buffer.len()).map_err(|_| too_large())?;
    let (fd, start) = (socket.as_raw_fd(), buffer.as_mut_ptr());
    // SAFETY: `buffer` lives across the call, and the kernel writes no more than its size, which
    // is passed.
    // JUSTIFICATION: see the item.
    let result = unsafe { libc::getsockopt(fd, level, option, start.cast(), &raw mut size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
