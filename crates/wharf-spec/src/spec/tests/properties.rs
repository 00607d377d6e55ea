//! What holds for every spec and for every text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::options::{ProxyProtocol, PublishOptions, SourceMode, Via};
use crate::spec::{HostPorts, PortSpec, SpecError};
use crate::{Expose, PortRange, Proto};

const PROTOS: &[Proto] = &[Proto::Tcp, Proto::Udp, Proto::Sctp];

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()),
        select(vec![Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST]).prop_map(IpAddr::V6),
    ]
}

/// No network of IPv4-mapped addresses comes of random bits; those have their own tests.
fn network() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| {
            Ipv4Net::new(Ipv4Addr::from_bits(bits), length).unwrap().trunc().into()
        }),
        (1..u128::MAX, 0..=128_u8).prop_map(|(bits, length)| {
            Ipv6Net::new(Ipv6Addr::from_bits(bits), length).unwrap().trunc().into()
        }),
    ]
}

fn range() -> impl Strategy<Value = PortRange> {
    (1..=u16::MAX, 1..=u16::MAX)
        .prop_map(|(one, other)| PortRange::new(one.min(other), one.max(other)).unwrap())
}

prop_compose! {
    fn options()(
        via in select(vec![Via::Auto, Via::Relay, Via::Nft, Via::Ebpf]),
        source in select(vec![SourceMode::Auto, SourceMode::Client, SourceMode::Gateway]),
        allow in prop::collection::vec(network(), 0..4),
        proxy_protocol in option::of(select(vec![ProxyProtocol::V1, ProxyProtocol::V2])),
    ) -> PublishOptions {
        PublishOptions { via, source, allow, proxy_protocol }
    }
}

/// Container ports with host ports that fit them.
fn ports() -> impl Strategy<Value = (PortRange, HostPorts)> {
    let longer = range().prop_filter("more than one", |range| !range.is_single());
    let equal = (range(), 1..=u16::MAX).prop_map(|(ports, wish)| {
        let first = wish.min(u16::MAX - (ports.last() - ports.first()));
        let last = first + (ports.last() - ports.first());
        (ports, HostPorts::Exact(PortRange::new(first, last).unwrap()))
    });
    prop_oneof![
        range().prop_map(|ports| (ports, HostPorts::Ephemeral)),
        equal,
        (1..=u16::MAX, longer)
            .prop_map(|(port, any_of)| (PortRange::single(port), HostPorts::AnyOf(any_of))),
    ]
}

prop_compose! {
    fn spec()(
        host_ip in option::of(address()),
        (container_ports, host_ports) in ports(),
        proto in select(PROTOS),
        options in options(),
    ) -> PortSpec {
        PortSpec { host_ip, host_ports, container_ports, proto, options }
    }
}

/// A number as people may write it, and its value.
fn written() -> impl Strategy<Value = (String, u32)> {
    let value = prop_oneof![0..=3_u32, 0..=70_000_u32];
    (value, 0..4_usize, any::<bool>()).prop_map(|(value, zeros, plus)| {
        (format!("{}{}{value}", if plus { "+" } else { "" }, "0".repeat(zeros)), value)
    })
}

/// One or two numbers, their text and their ends.
fn written_ports() -> impl Strategy<Value = (String, (u32, u32))> {
    (written(), option::of(written())).prop_map(|((first, from), last)| match last {
        None => (first, (from, from)),
        Some((last, to)) => (format!("{first}-{last}"), (from, to)),
    })
}

/// The rules for `host:container` as the reference states them, without any of the parser.
fn model(host: (u32, u32), container: (u32, u32)) -> Result<&'static str, &'static str> {
    let valid = |(first, last): (u32, u32)| first <= last && last <= 65_535;
    let count = |(first, last): (u32, u32)| last - first + 1;
    match () {
        () if !valid(container) => Err("containerPort"),
        () if !valid(host) => Err("hostPort"),
        () if count(container) > 1 && count(container) != count(host) => Err("ranges"),
        () if host.0 == 0 && host.1 > 0 => Err("port range"),
        () if container.0 == 0 => Err("port specification"),
        () if host == (0, 0) => Ok("ephemeral"),
        () if count(host) > 1 && count(container) == 1 => Ok("any of"),
        () => Ok("exact"),
    }
}

fn ends(range: PortRange) -> (u32, u32) {
    (range.first().into(), range.last().into())
}

proptest! {
    #[test]
    fn every_spec_parses_back_from_its_text(spec in spec()) {
        let text = spec.to_string();
        prop_assert_eq!(text.parse::<PortSpec>(), Ok(spec), "{}", text);
    }

    #[test]
    fn every_spec_survives_json(spec in spec()) {
        let json = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<PortSpec>(&json).unwrap(), spec);
    }

    #[test]
    fn options_survive_text_and_json(options in options()) {
        prop_assert_eq!(options.to_string().parse::<PublishOptions>().unwrap(), options.clone());
        let json = serde_json::to_string(&options).unwrap();
        prop_assert_eq!(serde_json::from_str::<PublishOptions>(&json).unwrap(), options);
    }

    #[test]
    fn the_long_form_says_the_same(spec in spec()) {
        let long = match (spec.host_ip, spec.host_ports) {
            (None, HostPorts::Ephemeral) => String::new(),
            (None, HostPorts::Exact(range) | HostPorts::AnyOf(range)) => {
                format!("published={range},")
            }
            (Some(_), HostPorts::Ephemeral) => return Ok(()),
            (Some(ip), HostPorts::Exact(range) | HostPorts::AnyOf(range)) => {
                format!("published=[{ip}]:{range},")
            }
        };
        let comma = if spec.options.is_default() { "" } else { "," };
        let rest = format!("target={},protocol={}", spec.container_ports, spec.proto);
        let text = format!("{long}{rest}{comma}{}", spec.options);
        prop_assert_eq!(text.parse::<PortSpec>(), Ok(spec), "{}", text);
    }

    #[test]
    fn any_text_is_judged_and_what_is_taken_is_stable(text in any::<String>()) {
        judge(&text)?;
    }

    #[test]
    fn text_that_nearly_is_a_spec_is_judged(text in "[0-9a-f:.,/=+\\[\\]tcpudviaw-]{0,40}") {
        judge(&text)?;
    }

    #[test]
    fn ports_are_read_as_the_model_reads_them(
        (host_text, host) in written_ports(),
        (container_text, container) in written_ports(),
    ) {
        let parsed = format!("{host_text}:{container_text}").parse::<PortSpec>();
        let wanted = model(host, container);
        match &parsed {
            Ok(spec) => {
                prop_assert_eq!(ends(spec.container_ports), container);
                let (word, range) = match spec.host_ports {
                    HostPorts::Ephemeral => ("ephemeral", host),
                    HostPorts::Exact(range) => ("exact", ends(range)),
                    HostPorts::AnyOf(range) => ("any of", ends(range)),
                };
                prop_assert_eq!((Ok(word), range), (wanted, host));
            }
            Err(error) => {
                let word = wanted.expect_err("the model takes it");
                let begins = format!("invalid {word}");
                prop_assert!(error.to_string().starts_with(&begins), "{}", error);
            }
        }
    }

    #[test]
    fn exposed_ports_survive_text_and_json(ports in range(), proto in select(PROTOS)) {
        let expose = Expose { ports, proto };
        prop_assert_eq!(expose.to_string().parse(), Ok::<_, SpecError>(expose));
        let json = serde_json::to_string(&expose).unwrap();
        prop_assert_eq!(serde_json::from_str::<Expose>(&json).unwrap(), expose);
    }
}

fn judge(text: &str) -> Result<(), TestCaseError> {
    match text.parse::<PortSpec>() {
        Ok(spec) => prop_assert_eq!(spec.to_string().parse::<PortSpec>(), Ok(spec)),
        Err(error) => prop_assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

#[test]
fn a_spec_in_json_is_its_text() {
    let spec: PortSpec = "127.0.0.1:8000-8002:80-82,via=nft".parse().unwrap();
    let json = serde_json::to_string(&spec).unwrap();
    insta::assert_snapshot!(json, @r#""127.0.0.1:8000-8002:80-82/tcp,via=nft""#);
    let refused = serde_json::from_str::<PortSpec>(r#""90-80:80""#).unwrap_err();
    insta::assert_snapshot!(refused, @"invalid hostPort: 90-80");
}
