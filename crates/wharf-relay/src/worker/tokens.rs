//! What the 64 bits of an epoll entry say.

use crate::route::Token;

/// The two highest bits tell the kinds apart.
const KIND: u32 = 62;
const PAYLOAD: u64 = (1 << KIND) - 1;

/// Whom an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A listening TCP socket, or the socket of a UDP port.
    Listener(Token),
    /// One side of a TCP connection.
    Leg { slot: u32, side: Side },
    /// The target's side of a UDP flow.
    Flow(u64),
}

/// One of the two ends of what is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Target,
}

// === impl Subject ===

impl From<Subject> for u64 {
    fn from(subject: Subject) -> Self {
        match subject {
            // Keys of routes have 30 bits, see `table`.
            Subject::Listener(token) => Self::from(token.route) << 32 | Self::from(token.socket),
            Subject::Leg { slot, side } => {
                1 << KIND | Self::from(slot) << 1 | Self::from(side == Side::Target)
            }
            Subject::Flow(id) => 2 << KIND | (id & PAYLOAD),
        }
    }
}

impl From<u64> for Subject {
    fn from(word: u64) -> Self {
        let low = |word: u64| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
        let payload = word & PAYLOAD;
        match word >> KIND {
            0 => Self::Listener(Token { route: low(payload >> 32), socket: low(payload) }),
            1 => {
                let side = if payload & 1 == 0 { Side::Client } else { Side::Target };
                Self::Leg { slot: low(payload >> 1), side }
            }
            _ => Self::Flow(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_survives() {
        let subjects = [
            Subject::Listener(Token { route: 0, socket: 0 }),
            Subject::Listener(Token { route: (1 << 30) - 1, socket: u32::MAX }),
            Subject::Leg { slot: u32::MAX, side: Side::Target },
            Subject::Leg { slot: 0, side: Side::Client },
            Subject::Flow(0),
            Subject::Flow(PAYLOAD),
        ];
        for subject in subjects {
            assert_eq!(Subject::from(u64::from(subject)), subject);
            assert_ne!(u64::from(subject), u64::MAX);
        }
    }
}
