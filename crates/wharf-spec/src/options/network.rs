//! The networks of an allow-list.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::spec::SpecError;

/// Reads a list of networks with commas between, as `--allow` takes it; a bare address stands
/// for itself alone, and host bits are cleared.
pub fn parse_networks(list: &str) -> Result<Vec<IpNet>, SpecError> {
    list.split(',').map(parse).collect()
}

pub(super) fn parse(text: &str) -> Result<IpNet, SpecError> {
    let network = text.parse::<IpNet>().ok();
    let network = network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.map(|network| canonical(network.trunc())).ok_or_else(|| SpecError::OptionValue {
        key: "allow",
        value: text.to_owned(),
        wanted: &["networks such as 10.0.0.0/8", "addresses such as 192.0.2.7", "any"],
    })
}

/// Clients are known by their IPv4 address whichever socket took them, so a network of
/// IPv4-mapped addresses would match nobody.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let plain = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    plain.and_then(|(addr, len)| Ipv4Net::new(addr, len).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        parse(text).map(|network| network.to_string()).unwrap_or_default()
    }

    #[test]
    fn networks_are_masked_and_addresses_stand_alone() {
        assert_eq!(canonical("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(canonical("10.1.2.3"), "10.1.2.3/32");
        assert_eq!(canonical("fd00:1::2/32"), "fd00:1::/32");
        assert_eq!(canonical("::1"), "::1/128");
        assert_eq!(canonical("0.0.0.0/0"), "0.0.0.0/0");
        assert_eq!(canonical("::/0"), "::/0");
    }

    #[test]
    fn mapped_networks_are_the_ipv4_networks_they_stand_for() {
        assert_eq!(canonical("::ffff:10.0.0.0/104"), "10.0.0.0/8");
        assert_eq!(canonical("::ffff:10.0.0.1"), "10.0.0.1/32");
        assert_eq!(canonical("::ffff:0:0/90"), "::ffc0:0:0/90");
    }

    #[test]
    fn names_zones_and_bad_lengths_are_refused() {
        let wrong = ["", "ten", "10.0.0.0/33", "10.0.0/8", "fe80::1%eth0", "[::1]", "10.0.0.0/"];
        for text in wrong {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_list_is_all_or_nothing() {
        assert_eq!(parse_networks("10.0.0.0/8,::1").unwrap().len(), 2);
        let error = parse_networks("10.0.0.0/8,lan").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid value \"lan\" for allow: \
             use networks such as 10.0.0.0/8, addresses such as 192.0.2.7, any"
        );
    }
}
