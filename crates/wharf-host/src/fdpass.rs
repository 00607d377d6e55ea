//! Descriptors over unix sockets.
//!
//! A frame is a payload with any number of descriptors. On the wire: the payload's length and
//! the number of descriptors (two little-endian `u32`), then one byte for each full or partial
//! batch of descriptors, which carries the batch as `SCM_RIGHTS`, then the payload. Time limits
//! are the caller's (`UnixStream::set_read_timeout`); lengths from the peer are never trusted.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::error::{Context, Error, Result};

/// `SCM_MAX_FD` of the kernel (net/scm.h): more in one message is refused.
const BATCH: usize = 253;
/// Two full port ranges in both protocols; a peer that announces more is broken.
const MAX_DESCRIPTORS: usize = 4 * 65_536;

/// Who is at the other end of a unix socket, as of when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process, as seen from our pid namespace; 0 if it is outside.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// Sends one frame.
pub fn send_frame(
    stream: &UnixStream,
    payload: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<()> {
    let what = || "send a frame";
    let length = u32::try_from(payload.len());
    let count =
        u32::try_from(descriptors.len()).ok().filter(|_| descriptors.len() <= MAX_DESCRIPTORS);
    let (Ok(length), Some(count)) = (length, count) else {
        return Err(Error::kernel(what(), io::Error::from_raw_os_error(libc::EMSGSIZE)));
    };
    let mut head = [0; 8];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&count.to_le_bytes());
    let mut writer = stream;
    writer.write_all(&head).during(what)?;
    for batch in descriptors.chunks(BATCH) {
        send_batch(stream, batch).during(|| "send descriptors")?;
    }
    writer.write_all(payload).during(what)
}

/// Receives one frame of at most `max_len` bytes; `None` when the peer closed the connection
/// between frames. The descriptors are close-on-exec.
///
/// # Errors
/// A frame that breaks off, is too long, or whose descriptors did not all arrive (this process
/// may have run out of them).
pub fn recv_frame(stream: &UnixStream, max_len: usize) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let Some((length, count)) = recv_head(stream)? else { return Ok(None) };
    if length > max_len || count > MAX_DESCRIPTORS {
        let detail = format!("frame of {length} bytes and {count} descriptors is over the limit");
        return Err(Error::answer("receive a frame", detail));
    }
    let mut descriptors = Vec::with_capacity(count.min(BATCH));
    while descriptors.len() < count {
        let expected = (count - descriptors.len()).min(BATCH);
        recv_batch(stream, expected, &mut descriptors)?;
    }
    // Grown as bytes arrive, so that an announced length alone costs nothing.
    let mut payload = Vec::new();
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    let got = Read::take(stream, limit).read_to_end(&mut payload).during(|| "receive a frame")?;
    if got < length {
        return Err(Error::answer("receive a frame", format!("broke off at {got} of {length}")));
    }
    Ok(Some((payload, descriptors)))
}

/// Receives the one descriptor that comes with the next byte of a stream that is not made of frames.
/// It is close-on-exec; what follows that byte is left unread.
///
/// # Errors
/// None came, or more than one.
pub fn recv_descriptor(stream: &UnixStream) -> Result<OwnedFd> {
    let mut descriptors = Vec::with_capacity(1);
    recv_batch(stream, 1, &mut descriptors)?;
    descriptors.pop().ok_or_else(|| Error::answer("receive a descriptor", "none came"))
}

/// Who connected to `stream` (`SO_PEERCRED`).
#[expect(unsafe_code, reason = "our crates' wrappers have no number for a process outside ours")]
pub fn peer_credentials(stream: &UnixStream) -> Result<Peer> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: `found` and `length` live across the call, and `length` is the size of `found`.
    // JUSTIFICATION: rustix takes the number for one that is never 0, which a peer outside of our
    // process namespace has.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error()).during(|| "identify the peer");
    }
    Ok(Peer { pid: u32::try_from(found.pid).unwrap_or(0), uid: found.uid, gid: found.gid })
}

fn recv_head(mut stream: &UnixStream) -> Result<Option<(usize, usize)>> {
    let mut head = [0; 8];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(Error::answer("receive a frame", "broke off in its head")),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset && filled == 0 => return Ok(None),
            Err(e) => return Err(Error::kernel("receive a frame", e)),
        }
    }
    let [a, b, c, d, e, f, g, h] = head;
    let size = |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    Ok(Some((size([a, b, c, d]), size([e, f, g, h]))))
}

fn send_batch(stream: &UnixStream, batch: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(batch)) {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    let carrier = [IoSlice::new(b"d")];
    loop {
        match rustix::net::sendmsg(stream, &carrier, &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|_| ()).map_err(io::Error::from),
        }
    }
}

fn recv_batch(stream: &UnixStream, expected: usize, into: &mut Vec<OwnedFd>) -> Result<()> {
    let what = || "receive descriptors";
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut carrier = [0];
    let message = loop {
        let mut data = [IoSliceMut::new(&mut carrier)];
        match rustix::net::recvmsg(stream, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.during(what)?,
        }
    };
    let before = into.len();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            into.extend(descriptors);
        }
    }
    let got = into.len() - before;
    if message.bytes == 0 {
        return Err(Error::answer(what(), "broke off"));
    }
    if message.flags.contains(ReturnFlags::CTRUNC) || got != expected {
        let detail = format!("{got} of {expected} arrived; raise the limit of open files");
        return Err(Error::answer(what(), detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        for stream in [&a, &b] {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        (a, b)
    }

    #[test]
    fn frames_keep_their_payload_and_descriptors_apart() {
        let (a, b) = pair();
        let null = File::open("/dev/null").unwrap();
        for count in [0, 1, 253, 254, 600] {
            let borrowed = vec![null.as_fd(); count];
            let payload = vec![7; 100_000];
            std::thread::scope(|scope| {
                scope.spawn(|| send_frame(&a, &payload, &borrowed).unwrap());
                let (got, descriptors) = recv_frame(&b, 1 << 20).unwrap().unwrap();
                assert_eq!(got, payload);
                assert_eq!(descriptors.len(), count);
                for descriptor in descriptors {
                    let flags = rustix::io::fcntl_getfd(&descriptor).unwrap();
                    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                }
            });
        }
        drop(a);
        assert!(recv_frame(&b, 10).unwrap().is_none());
    }

    #[test]
    fn hostile_frames_are_errors() {
        let limit = 1 << 20;
        let cases: [&[u8]; 5] = [
            b"\xff\xff\xff\xff\0\0\0\0",
            b"\0\0\0\0\xff\xff\xff\xff",
            b"\x05\0\0\0\0\0\0\0abc",
            b"\x05\0",
            b"\x01\0\0\0\x02\0\0\0da",
        ];
        for case in cases {
            let (mut a, b) = pair();
            a.write_all(case).unwrap();
            drop(a);
            assert!(recv_frame(&b, limit).is_err(), "{case:?}");
        }
    }

    #[test]
    fn a_silent_peer_is_left_at_the_time_limit() {
        let (a, b) = pair();
        b.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert_eq!(recv_frame(&b, 10).unwrap_err().errno(), Some(libc::EAGAIN));
        drop(a);
    }

    #[test]
    fn the_peer_is_who_it_is() {
        let (a, _b) = pair();
        let peer = peer_credentials(&a).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    }
}
