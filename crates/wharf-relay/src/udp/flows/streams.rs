//! How many flows of each client stream: those live longer than others, so they are counted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// The streams of every client that has any.
#[derive(Debug)]
pub(super) struct Streams {
    most: usize,
    held: HashMap<IpAddr, usize>,
}

// === impl Streams ===

impl Streams {
    /// None yet, and `most` for each client.
    pub(super) fn new(most: usize) -> Self {
        Self { most, held: HashMap::new() }
    }

    /// Counts one more in, if the client may have it.
    pub(super) fn admit(&mut self, client: IpAddr) -> bool {
        let held = self.held.entry(household(client)).or_default();
        let admitted = *held < self.most;
        *held += usize::from(admitted);
        admitted
    }

    /// Takes one off.
    pub(super) fn leave(&mut self, client: IpAddr) {
        let client = household(client);
        let Some(held) = self.held.get_mut(&client) else { return };
        *held = held.saturating_sub(1);
        if *held == 0 {
            self.held.remove(&client);
        }
    }
}

/// Whom streams are counted for: an IPv6 host has a whole /64 to itself.
fn household(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_network_count_as_one_client() {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let mut streams = Streams::new(1);
        assert!(streams.admit(address("2001:db8::1")));
        assert!(!streams.admit(address("2001:db8::ffff:2")));
        assert!(streams.admit(address("2001:db8:0:1::1")));
        assert!(streams.admit(address("192.0.2.1")) && streams.admit(address("192.0.2.2")));
        streams.leave(address("2001:db8::1"));
        assert!(streams.admit(address("2001:db8::3")));
        assert_eq!(streams.held.len(), 4);
    }
}
