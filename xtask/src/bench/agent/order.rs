//! What a client tells the stream service with the first bytes of a connection.

/// The length of an order on the wire.
pub(crate) const LENGTH: usize = 8;

/// What the service is to do with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Receive to the end, then say how many bytes it was.
    Receive,
    /// Send for this long, then close.
    Send { milliseconds: u32 },
    /// Send every 64 bytes back.
    Echo,
}

// === impl Order ===

impl Order {
    /// Its form on the wire; with it, whether the stream is kept steady.
    pub(crate) fn encode(self, steady: bool) -> [u8; LENGTH] {
        let (kind, argument) = match self {
            Self::Receive => (b'r', 0),
            Self::Send { milliseconds } => (b's', milliseconds),
            Self::Echo => (b'e', 0),
        };
        let [a, b, c, d] = argument.to_be_bytes();
        [kind, u8::from(steady), 0, 0, a, b, c, d]
    }

    /// Reads it back.
    pub(crate) fn decode(bytes: [u8; LENGTH]) -> Option<(Self, bool)> {
        let [kind, steady, _, _, a, b, c, d] = bytes;
        let milliseconds = u32::from_be_bytes([a, b, c, d]);
        let order = match kind {
            b'r' => Self::Receive,
            b's' => Self::Send { milliseconds },
            b'e' => Self::Echo,
            _ => return None,
        };
        Some((order, steady != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_wire() {
        for order in [Order::Receive, Order::Send { milliseconds: 70_000 }, Order::Echo] {
            for steady in [false, true] {
                assert_eq!(Order::decode(order.encode(steady)), Some((order, steady)));
            }
        }
        assert_eq!(Order::decode([0; LENGTH]), None);
    }
}
