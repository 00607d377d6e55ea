//! The ring through which messages go.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::register::Restriction;
use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

use super::{MOST, Message, Outcome};
use crate::datagram::Envelope;

/// How often the kernel is asked before the ring is given up.
const TRIES: u32 = 16;
const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// A ring that can send, and do nothing else.
pub(super) fn ring() -> io::Result<IoUring> {
    let entries = u32::try_from(MOST).unwrap_or(u32::MAX);
    let ring = IoUring::builder().setup_r_disabled().build(entries)?;
    let mut allowed = [opcode::Send::CODE, opcode::SendMsg::CODE].map(Restriction::sqe_op);
    ring.submitter().register_restrictions(&mut allowed)?;
    ring.submitter().register_enable_rings()?;
    Ok(ring)
}

/// Sends all `messages` whose sockets there are, and notes what became of them.
///
/// With `MSG_DONTWAIT` a request is done, one way or the other, when it has been submitted
/// (`REQ_F_NOWAIT`), so that waiting for it is a formality, and one without an answer was not sent.
#[expect(unsafe_code, reason = "what is put into a ring must live until it is done")]
pub(super) fn send<'fd>(
    ring: &mut IoUring,
    buffer: &[u8],
    messages: &mut [Message],
    socket: impl Fn(u64) -> Option<BorrowedFd<'fd>>,
) -> io::Result<()> {
    let count = messages.iter().filter(|message| message.path.is_some()).count();
    let (mut data, mut envelopes) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for message in messages.iter() {
        if let Some(path) = &message.path {
            data.push([IoSlice::new(message.bytes(buffer))]);
            envelopes.push(Envelope::new(Some(path), None));
        }
    }
    let headers: Vec<libc::msghdr> =
        envelopes.iter_mut().zip(&data).map(|(envelope, data)| envelope.header(data)).collect();
    let (mut next, mut under_way) = (headers.iter(), 0);
    for (nth, message) in (0u64..).zip(messages.iter()) {
        let header = message.path.and_then(|_| next.next());
        let Some(to) = socket(message.token) else { continue };
        let entry = entry(to, message.bytes(buffer), header).user_data(nth);
        // SAFETY: `buffer` and the descriptors are borrowed until this function returns, and headers,
        // envelopes and slices, which nobody touches meanwhile, live as long. It does not return
        // before every request is done, except with an error, after which the ring is closed with
        // what was never submitted.
        // JUSTIFICATION: there is no safe way to put a request into a ring.
        unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
        under_way += 1;
    }
    settle(ring, messages, under_way)
}

fn entry(to: BorrowedFd<'_>, bytes: &[u8], header: Option<&libc::msghdr>) -> Entry {
    let to = types::Fd(to.as_raw_fd());
    let Some(header) = header else {
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        return opcode::Send::new(to, bytes.as_ptr(), length).flags(FLAGS).build();
    };
    opcode::SendMsg::new(to, header).flags(FLAGS.cast_unsigned()).build()
}

/// Submits what is in the ring and waits for all of it.
fn settle(ring: &mut IoUring, messages: &mut [Message], mut under_way: usize) -> io::Result<()> {
    let mut tries = TRIES;
    while under_way > 0 {
        let submitted = ring.submit_and_wait(under_way);
        for done in ring.completion() {
            under_way = under_way.saturating_sub(1);
            let nth = usize::try_from(done.user_data()).unwrap_or(usize::MAX);
            if let Some(message) = messages.get_mut(nth) {
                message.outcome = Outcome::of(done.result());
            }
        }
        if let Err(error) = submitted {
            tries -= 1;
            if tries == 0 || !passes(&error) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// A signal, or a moment without memory.
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}
