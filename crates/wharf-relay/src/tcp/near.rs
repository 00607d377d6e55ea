//! What peers that are near spare themselves.
//!
//! Much of TCP finds out what a long way can bear. On a way within a host or a machine room there is
//! nothing to be found, and it costs more than the carrying itself.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
use socket2::{Domain, Socket, Type};
use wharf_host::{round_trip, window};

/// A way shorter than this stays within a host or a machine room.
const NEAR: Duration = Duration::from_millis(1);
/// A stream over a way shorter than this needs no larger window than [`WINDOW`]: 64 Gbit/s.
const NEXT_DOOR: Duration = Duration::from_micros(250);
const WINDOW: usize = 2 << 20;
/// The congestion control that every kernel has and every process may choose; it does not pace.
const UNPACED: &str = "reno";

/// Whether connections pace themselves unless told otherwise: BBR does.
///
/// Each connection then keeps a timer going, to send no faster than it has guessed.
pub(crate) fn default_is_paced() -> bool {
    hosts_choice().is_ok_and(|name| name.starts_with("bbr"))
}

/// The congestion control that this host has chosen.
fn hosts_choice() -> Result<String, Errno> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(|_| Errno::NOMEM)?;
    tcp_congestion(socket)
}

/// Chooses a congestion control without pacing, for a socket or for what a listener accepts. It has
/// to be before the connection stands: a socket that has begun to pace keeps its timer whatever is
/// chosen later (`sk_pacing_status`).
pub(super) fn take_pacing_off(socket: impl AsFd) {
    // Failure costs throughput on a short way.
    let _chosen = set_tcp_congestion(socket, UNPACED);
}

/// Gives a connection that was begun without pacing what the host has chosen, if the way is long.
pub(super) fn pace_if_far(leg: BorrowedFd<'_>) {
    let is_far = round_trip::shortest(leg).is_ok_and(|trip| trip >= NEAR);
    if is_far && let Ok(name) = hosts_choice() {
        // It fails where the administrator has taken the choice away since.
        let _chosen = set_tcp_congestion(leg, &name);
    }
}

/// Bounds what a stream's sender may have on its way, if it is next door.
///
/// The kernel acknowledges at once, from the interrupt, as long as the window it could offer does not
/// shrink by what waits to be read (`__tcp_ack_snd_check`). So with a window well below the receive
/// buffer, the sender goes on without the loop having run. And what waits stays in the caches: the
/// window would grow to tcp_rmem's 6 to 32 MiB.
pub(super) fn bound_window(from: BorrowedFd<'_>) {
    if round_trip::shortest(from).is_ok_and(|trip| trip < NEXT_DOOR) {
        // It fails only for what is no socket.
        drop(window::clamp(from, WINDOW));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn accepted(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn what_a_listener_accepts_does_not_pace_unless_it_is_far() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        take_pacing_off(&listener);
        let (_near, far) = accepted(&listener);
        assert_eq!(tcp_congestion(&far).unwrap(), UNPACED);
        pace_if_far(far.as_fd());
        assert_eq!(tcp_congestion(&far).unwrap(), UNPACED);
    }

    #[test]
    fn the_hosts_choice_is_what_a_socket_of_its_own_would_have() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(hosts_choice().unwrap(), tcp_congestion(&listener).unwrap());
    }
}
