//! What peers that are near spare themselves.
//!
//! Much of TCP finds out what a long way can bear. On a way within a host or a machine room there is
//! nothing to be found, and it costs more than the carrying itself.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
use rustix::system::uname;
use socket2::{Domain, Socket, Type};
use wharf_host::{round_trip, window};

/// A way shorter than this stays within a host or a machine room.
const NEAR: Duration = Duration::from_millis(1);
/// One longer than this does not; between the two, the peer may just have been busy.
const FAR: Duration = Duration::from_millis(5);
/// A stream over a way shorter than this needs no larger window than [`WINDOW`]: 64 Gbit/s.
const NEXT_DOOR: Duration = Duration::from_micros(250);
pub(super) const WINDOW: usize = 2 << 20;
/// The congestion control that every kernel has. It does not pace by itself.
const UNPACED: &str = "reno";

/// How long a way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Short,
    Long,
    /// It was not measured yet, or what was measured may be the time a busy peer took.
    Unsure,
}

// === impl Way ===

impl Way {
    /// Of what has been measured on the connection so far.
    pub(super) fn of(leg: BorrowedFd<'_>) -> Self {
        round_trip::shortest(leg).map_or(Self::Unsure, Self::within)
    }

    fn within(trip: Duration) -> Self {
        match trip {
            trip if trip < NEAR => Self::Short,
            trip if trip >= FAR => Self::Long,
            _ => Self::Unsure,
        }
    }
}

/// The congestion control that this host has chosen, if connections pace themselves by it, as with
/// BBR, and we may give it back to those that we take it from.
///
/// Each connection then keeps a timer going, to send no faster than it has guessed.
pub(crate) fn hosts_pacing() -> Option<String> {
    let (socket, name) = hosts_choice()?;
    if !name.starts_with("bbr") {
        return None;
    }
    set_tcp_congestion(&socket, UNPACED).ok()?;
    // Not what the administrator has left out of net.ipv4.tcp_allowed_congestion_control.
    set_tcp_congestion(&socket, &name).is_ok().then_some(name)
}

/// What this host has chosen, and the new socket that has it.
fn hosts_choice() -> Option<(Socket, String)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    let name = tcp_congestion(&socket).ok()?;
    Some((socket, name))
}

/// Chooses a congestion control without pacing, before a connection stands: a socket that has begun
/// to pace keeps its timer whatever is chosen later (`sk_pacing_status`).
pub(super) fn take_pacing_off(socket: BorrowedFd<'_>) {
    // Failure costs throughput on a short way.
    let _chosen = set_tcp_congestion(socket, UNPACED);
}

/// Sets what connections of a listener begin with. A predecessor may have taken the pacing off one
/// whose host has chosen otherwise since.
pub(super) fn tune_listener(listener: BorrowedFd<'_>, paced: bool) {
    if paced {
        return take_pacing_off(listener);
    }
    // Asked first, as there may be thousands of listeners and hardly one that is.
    let unpaced = tcp_congestion(listener).is_ok_and(|own| own == UNPACED);
    if unpaced && let Some((_socket, name)) = hosts_choice() {
        // It fails where the administrator has left it out of what may be chosen.
        let _chosen = set_tcp_congestion(listener, &name);
    }
}

/// Gives a connection that was begun without pacing what the host has chosen. One that has something
/// else has it from its route (`ip route … congctl`), and keeps it.
pub(super) fn pace(leg: BorrowedFd<'_>, name: &str) {
    if tcp_congestion(leg).is_ok_and(|own| own == UNPACED) {
        // It fails where the administrator has taken the choice away since.
        let _chosen = set_tcp_congestion(leg, name);
    }
}

/// Bounds what a stream's sender may have on its way, if it is next door.
///
/// The kernel acknowledges at once, from the interrupt, as long as the window it could offer does not
/// shrink by what waits to be read (`__tcp_ack_snd_check`). So with a window well below the receive
/// buffer, the sender goes on without the loop having run. And what waits stays in the caches: the
/// window would grow to tcp_rmem's 6 to 32 MiB.
pub(super) fn bound_window(from: BorrowedFd<'_>) {
    if window::of(from).is_ok_and(|bytes| bytes > WINDOW) && is_next_door(from) {
        // It fails for what is no TCP socket.
        drop(window::clamp(from, WINDOW));
    }
}

pub(super) fn is_next_door(peer: BorrowedFd<'_>) -> bool {
    round_trip::shortest(peer).is_ok_and(|trip| trip < NEXT_DOOR)
}

/// Whether windows may be bounded while something waits to be read, see [`window::clamp`].
pub(super) fn windows_reopen() -> bool {
    reopens(&uname().release().to_string_lossy())
}

fn reopens(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0u32);
    (next(), next()) >= (6, 7)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn accepted(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn chosen() -> String {
        hosts_choice().unwrap().1
    }

    #[test]
    fn connections_begin_unpaced_and_are_given_back_what_the_host_has_chosen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        tune_listener(listener.as_fd(), true);
        let (_near, far) = accepted(&listener);
        assert_eq!(tcp_congestion(&far).unwrap(), UNPACED);
        pace(far.as_fd(), &chosen());
        assert_eq!(tcp_congestion(&far).unwrap(), chosen());
        pace(far.as_fd(), UNPACED);
        assert_eq!(tcp_congestion(&far).unwrap(), chosen(), "not what we have set");
    }

    #[test]
    fn a_listener_of_a_predecessor_gets_what_the_host_has_chosen_since() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        take_pacing_off(listener.as_fd());
        tune_listener(listener.as_fd(), false);
        let (_near, far) = accepted(&listener);
        assert_eq!(tcp_congestion(&far).unwrap(), chosen());
    }

    #[test]
    fn what_a_busy_peer_takes_is_no_way() {
        let way = |milliseconds| Way::within(Duration::from_millis(milliseconds));
        assert_eq!([0, 1, 4, 5, 80].map(way), {
            use Way::{Long, Short, Unsure};
            [Short, Unsure, Unsure, Long, Long]
        });
        let fresh = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert_eq!(Way::of(fresh.as_fd()), Way::Unsure);
    }

    #[test]
    fn kernels_that_shut_a_clamped_window_are_known() {
        let known = ["5.10.0-33-amd64", "5.15.0-91", "6.1.0-57-cloud-amd64", "6.6.12"];
        assert!(known.into_iter().all(|release| !reopens(release)));
        assert!(["6.7.1", "6.12.48+deb13", "6.18.44", "7.0.0"].into_iter().all(reopens));
    }
}
