//! Plans in few words.

use std::net::IpAddr;

use wharf_plan::nft::{
    AllowList, BridgePolicy, Dnat, LoopbackGuard, NftPlan, OpenPort, SubnetPolicy,
};
use wharf_spec::{PortRange, Proto, PublicationId};

pub(crate) fn ports(text: &str) -> PortRange {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    PortRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
}

/// `"tcp 192.0.2.1 8080-8089"` and `"10.1.0.2 80-89"`; `*` is any address.
pub(crate) fn dnat(from: &str, to: &str) -> Dnat {
    let [proto, host, from] = from.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (target, to) = to.split_once(' ').unwrap();
    Dnat {
        proto: proto.parse().unwrap(),
        host: (host != "*").then(|| host.parse().unwrap()),
        ports: ports(from),
        target: target.parse().unwrap(),
        target_ports: ports(to),
    }
}

pub(crate) fn subnet(text: &str) -> SubnetPolicy {
    SubnetPolicy {
        subnet: text.parse().unwrap(),
        masquerade: true,
        unprotected: false,
        icmp: false,
    }
}

pub(crate) fn bridge(name: &str, subnets: &[&str]) -> BridgePolicy {
    BridgePolicy {
        name: name.to_owned(),
        subnets: subnets.iter().map(|text| subnet(text)).collect(),
        internal: false,
        trusted_interfaces: [].into(),
    }
}

/// Open to everyone.
pub(crate) fn open(address: &str, range: &str) -> OpenPort {
    open_to(address, range, &[if address.contains(':') { "::/0" } else { "0.0.0.0/0" }])
}

pub(crate) fn open_to(address: &str, range: &str, from: &[&str]) -> OpenPort {
    let address: IpAddr = address.parse().unwrap();
    let publication = PublicationId(format!("{address} {range} {from:?}"));
    OpenPort { proto: Proto::Tcp, address, ports: ports(range), from: nets(from), publication }
}

/// `"tcp 0.0.0.0/0 8080-8089"` and who may reach it.
pub(crate) fn allow(ports_of: &str, from: &[&str]) -> AllowList {
    let [proto, host, range] = ports_of.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let host = host.parse().unwrap();
    AllowList { proto: proto.parse().unwrap(), host, ports: ports(range), from: nets(from) }
}

fn nets(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|net| net.parse().unwrap()).collect()
}

pub(crate) fn loopback(proto: Proto, address: &str, range: &str) -> LoopbackGuard {
    LoopbackGuard { proto, address: address.parse().unwrap(), ports: ports(range) }
}

/// Something of everything.
pub(crate) fn full() -> NftPlan {
    let mut routed = bridge("br-routed", &["10.3.0.0/16", "fd00:3::/64"]);
    for subnet in &mut routed.subnets {
        (subnet.masquerade, subnet.icmp) = (false, true);
    }
    routed.trusted_interfaces.insert("wg0".to_owned());
    let mut lax = bridge("br-lax", &["10.4.0.0/24", "fd00:4::/64"]);
    lax.subnets.iter_mut().for_each(|subnet| subnet.unprotected = true);
    let mut shut = bridge("br-internal", &["10.5.0.0/24"]);
    shut.internal = true;
    shut.subnets.iter_mut().for_each(|subnet| subnet.masquerade = false);
    NftPlan {
        bridges: [bridge("br1", &["10.1.0.0/24", "fd00:1::/64"]), routed, lax, shut].into(),
        dnat: [
            dnat("tcp * 8080", "10.1.0.2 80"),
            dnat("udp * 5353", "10.1.0.2 53"),
            dnat("tcp * 9000-9999", "10.1.0.2 9000-9999"),
            dnat("udp * 7000-7002", "10.1.0.2 17000-17002"),
            dnat("tcp 192.0.2.1 8080", "10.1.0.3 80"),
            dnat("sctp 192.0.2.1 30000-30010", "10.1.0.3 30000-30010"),
            dnat("tcp * 8080", "fd00:1::2 80"),
            dnat("tcp * 9000-9999", "fd00:1::2 9000-9999"),
            dnat("tcp 2001:db8::1 8080", "fd00:1::3 80"),
            dnat("udp 2001:db8::1 100-200", "fd00:1::3 100-200"),
        ]
        .into(),
        loopback: [
            loopback(Proto::Tcp, "127.0.0.1", "8081"),
            loopback(Proto::Udp, "127.0.0.2", "600-700"),
        ]
        .into(),
        open: [open("10.3.0.2", "80"), open("fd00:3::2", "8000-8099")].into(),
        allow: [
            allow("tcp 0.0.0.0/0 8080", &["10.0.0.0/8", "192.0.2.10/32"]),
            allow("udp 192.0.2.1/32 7000-7002", &["0.0.0.0/0"]),
            allow("tcp ::/0 8080", &[]),
            allow("tcp ::1/128 8081", &["::1/128", "fd00::/8"]),
        ]
        .into(),
        way_back: true,
        answering: ["docker0".to_owned()].into(),
    }
}
