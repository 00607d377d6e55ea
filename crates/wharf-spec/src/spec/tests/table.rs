//! Docker's grammar, row by row: name of the row, text, what must become of it.

use crate::render::Bracketed;
use crate::spec::{HostPorts, PortSpec};

/// A spec in words, so that a table can say what was understood and not just how it prints.
fn meaning(spec: &PortSpec) -> String {
    let ip = spec.host_ip.map_or("default".to_owned(), |ip| Bracketed(ip).to_string());
    let host = match spec.host_ports {
        HostPorts::Ephemeral => "ephemeral".to_owned(),
        HostPorts::Exact(range) => format!("exact {range}"),
        HostPorts::AnyOf(range) => format!("any of {range}"),
    };
    let options = match spec.options.to_string() {
        empty if empty.is_empty() => empty,
        options => format!(" with {options}"),
    };
    format!("{ip} {host} -> {}/{}{options}", spec.container_ports, spec.proto)
}

fn outcome(text: &str) -> String {
    text.parse().as_ref().map_or_else(|error| format!("! {error}"), meaning)
}

fn check(rows: &[(&str, &str, &str)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter(|(_, text, wanted)| outcome(text) != *wanted)
        .map(|(row, text, wanted)| {
            format!("{row}: {text:?}\n  wanted {wanted}\n  got    {}", outcome(text))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn split_rule() {
    check(&[
        ("container only", "80", "default ephemeral -> 80/tcp"),
        ("host and container", "8080:80", "default exact 8080 -> 80/tcp"),
        ("ip, host and container", "127.0.0.1:8080:80", "127.0.0.1 exact 8080 -> 80/tcp"),
        ("bracketed v6", "[::1]:80:80", "[::1] exact 80 -> 80/tcp"),
        ("unbracketed v6", "::1:80:80", "[::1] exact 80 -> 80/tcp"),
        ("long unbracketed v6", "2001:db8::1:80:80", "[2001:db8::1] exact 80 -> 80/tcp"),
        ("bracketed v6, no host port", "[::1]::80", "[::1] ephemeral -> 80/tcp"),
        ("v6 wildcard, no host port", "::::80", "[::] ephemeral -> 80/tcp"),
        ("bracketed v4", "[127.0.0.1]:80:80", "127.0.0.1 exact 80 -> 80/tcp"),
        ("v4 wildcard", "0.0.0.0:80:80", "0.0.0.0 exact 80 -> 80/tcp"),
        ("mapped v4 is v4", "[::ffff:10.0.0.1]:80:80", "10.0.0.1 exact 80 -> 80/tcp"),
    ]);
}

#[test]
fn proto() {
    check(&[
        ("tcp", "80/tcp", "default ephemeral -> 80/tcp"),
        ("udp", "53:53/udp", "default exact 53 -> 53/udp"),
        ("sctp", "80/sctp", "default ephemeral -> 80/sctp"),
        ("any case", "53:53/UdP", "default exact 53 -> 53/udp"),
        ("empty", "80/", "default ephemeral -> 80/tcp"),
        ("empty with host port", "8080:80/", "default exact 8080 -> 80/tcp"),
        ("unknown", "80/foo", "! invalid proto: foo"),
        ("unknown, echoed lowered", "80/FOO", "! invalid proto: foo"),
        ("two", "80/tcp/udp", "! invalid proto: tcp/udp"),
        ("on the host port", "80/tcp:80", "! invalid hostPort: 80/tcp"),
        ("judged before the address", "name:80:80/foo", "! invalid proto: foo"),
    ]);
}

#[test]
fn no_container_port() {
    check(&[
        ("empty", "", "! no port specified: <empty>"),
        ("host port only", "8080:", "! no port specified: 8080:<empty>"),
        ("ip only", "127.0.0.1:8080:", "! no port specified: 127.0.0.1:8080:<empty>"),
        ("proto only", "/udp", "! no port specified: /udp<empty>"),
        ("host port and proto", "8080:/tcp", "! no port specified: 8080:/tcp<empty>"),
        ("colons only", ":::", "! no port specified: :::<empty>"),
        ("proto is not looked at", "8080:/foo", "! no port specified: 8080:/foo<empty>"),
    ]);
}

#[test]
fn container_only() {
    check(&[
        ("no colon", "80", "default ephemeral -> 80/tcp"),
        ("one empty part", ":80", "default ephemeral -> 80/tcp"),
        ("two empty parts", "::80", "default ephemeral -> 80/tcp"),
        ("empty address", ":8080:80", "default exact 8080 -> 80/tcp"),
    ]);
}

#[test]
fn host_port_absent_with_ip() {
    check(&[
        ("v4", "127.0.0.1::80", "127.0.0.1 ephemeral -> 80/tcp"),
        ("v4, range", "127.0.0.1::80-82/udp", "127.0.0.1 ephemeral -> 80-82/udp"),
        ("ip in the place of the port", "127.0.0.1:80", "! invalid hostPort: 127.0.0.1"),
        ("v6 in the place of the port", "[::1]:80", "! invalid IP address: [:"),
    ]);
}

#[test]
fn host_port_zero() {
    check(&[
        ("zero", "0:80", "default ephemeral -> 80/tcp"),
        ("zero with ip", "127.0.0.1:0:80", "127.0.0.1 ephemeral -> 80/tcp"),
        ("range of zero", "0-0:80", "default ephemeral -> 80/tcp"),
        ("range from zero", "0-100:80", "! invalid port range: 0-100"),
        ("equal ranges from zero", "0-2:80-82", "! invalid port range: 0-2"),
        (
            "zero for a range",
            "0:80-82",
            "! invalid ranges specified for container and host Ports: 80-82 and 0",
        ),
    ]);
}

#[test]
fn container_port_zero() {
    check(&[
        ("zero", "8080:0", "! invalid port specification: \"0/tcp\""),
        ("alone", "0", "! invalid port specification: \"0/tcp\""),
        ("udp", "8080:0/udp", "! invalid port specification: \"0/udp\""),
        ("range from zero", "8000-8002:0-2", "! invalid port specification: \"0/tcp\""),
    ]);
}

#[test]
fn ip_check() {
    check(&[
        ("host name", "localhost:80:80", "! invalid IP address: localhost"),
        ("interface", "eth0:80:80", "! invalid IP address: eth0"),
        ("zone", "[fe80::1%eth0]:80:80", "! invalid IP address: fe80::1%eth0"),
        ("zone, unbracketed", "fe80::1%eth0:80:80", "! invalid IP address: fe80::1%eth0"),
        ("too short", "127.0.1:80:80", "! invalid IP address: 127.0.1"),
        ("octal", "127.0.0.01:80:80", "! invalid IP address: 127.0.0.01"),
        ("too large", "256.0.0.1:80:80", "! invalid IP address: 256.0.0.1"),
        ("prefix", "10.0.0.0/8:80:80", "! invalid IP address: 10.0.0.0/8"),
        ("open bracket", "[::1:80:80", "! invalid IP address: [::1"),
        ("closing bracket", "::1]:80:80", "! invalid IP address: ::1]"),
        ("empty brackets", "[]:80:80", "! invalid IP address: []"),
        ("space", " 127.0.0.1:80:80", "! invalid IP address:  127.0.0.1"),
        ("judged before the ports", "name:x:y", "! invalid IP address: name"),
    ]);
}

#[test]
fn number_check() {
    check(&[
        ("leading zeros are decimal", "08080:0080", "default exact 8080 -> 80/tcp"),
        ("plus", "+8080:+80", "default exact 8080 -> 80/tcp"),
        ("largest", "65535:65535", "default exact 65535 -> 65535/tcp"),
        ("host too large", "65536:80", "! invalid hostPort: 65536"),
        ("container too large", "80:65536", "! invalid containerPort: 65536"),
        ("far too large", "99999999999999999999:80", "! invalid hostPort: 99999999999999999999"),
        ("host not a number", "http:80", "! invalid hostPort: http"),
        ("container not a number", "80:http/tcp", "! invalid containerPort: http"),
        ("hexadecimal", "0x50:80", "! invalid hostPort: 0x50"),
        ("space", "80: 80", "! invalid containerPort:  80"),
        ("container is judged first", "x:y", "! invalid containerPort: y"),
    ]);
}

#[test]
fn equal_ranges() {
    check(&[
        ("shifted", "8000-8002:80-82", "default exact 8000-8002 -> 80-82/tcp"),
        ("same numbers", "80-82:80-82/udp", "default exact 80-82 -> 80-82/udp"),
        ("with ip", "[::1]:8000-8002:80-82", "[::1] exact 8000-8002 -> 80-82/tcp"),
        ("all ports", "1-65535:1-65535", "default exact 1-65535 -> 1-65535/tcp"),
    ]);
}

#[test]
fn host_range_for_one_container_port() {
    check(&[
        ("range", "8000-8010:80", "default any of 8000-8010 -> 80/tcp"),
        ("with ip", "127.0.0.1:8000-8010:80", "127.0.0.1 any of 8000-8010 -> 80/tcp"),
        ("container range of one", "8000-8010:80-80", "default any of 8000-8010 -> 80/tcp"),
    ]);
}

#[test]
fn unequal_ranges() {
    check(&[
        (
            "longer host range",
            "8000-8002:80-81",
            "! invalid ranges specified for container and host Ports: 80-81 and 8000-8002",
        ),
        (
            "single host port",
            "8000:80-82",
            "! invalid ranges specified for container and host Ports: 80-82 and 8000",
        ),
        (
            "without its proto",
            "8000-8001:80-82/udp",
            "! invalid ranges specified for container and host Ports: 80-82 and 8000-8001",
        ),
    ]);
}

#[test]
fn container_range_only() {
    check(&[
        ("range", "3000-3003", "default ephemeral -> 3000-3003/tcp"),
        ("empty host port", ":3000-3003/udp", "default ephemeral -> 3000-3003/udp"),
    ]);
}

#[test]
fn reversed_and_half_ranges() {
    check(&[
        ("reversed host", "90-80:80", "! invalid hostPort: 90-80"),
        ("no end", "90-:80", "! invalid hostPort: 90-"),
        ("no start", "-90:80", "! invalid hostPort: -90"),
        ("three ends", "80-90-95:80", "! invalid hostPort: 80-90-95"),
        ("dash only", "-:80", "! invalid hostPort: -"),
        ("reversed container", "80:90-80", "! invalid containerPort: 90-80"),
        ("range of one", "80-80:80", "default exact 80 -> 80/tcp"),
        ("range of one, both", "80-80:80-80", "default exact 80 -> 80/tcp"),
    ]);
}

/// Clashes are for the bind step to find; parsing one does not know the other.
#[test]
fn repeated_and_duplicate() {
    check(&[
        ("one", "80:80", "default exact 80 -> 80/tcp"),
        ("the other", "127.0.0.1:80:80", "127.0.0.1 exact 80 -> 80/tcp"),
    ]);
}

#[test]
fn long_form() {
    check(&[
        ("all keys", "published=8080,target=80,protocol=udp", "default exact 8080 -> 80/udp"),
        ("any order", "target=80,published=8080", "default exact 8080 -> 80/tcp"),
        ("target only", "target=80", "default ephemeral -> 80/tcp"),
        ("ranges", "published=8000-8002,target=80-82", "default exact 8000-8002 -> 80-82/tcp"),
        ("address", "published=127.0.0.1:8080,target=80", "127.0.0.1 exact 8080 -> 80/tcp"),
        ("v6 address", "published=[::1]:8080,target=80", "[::1] exact 8080 -> 80/tcp"),
        ("empty protocol", "target=80,protocol=", "default ephemeral -> 80/tcp"),
        ("no target", "published=8080", "! no port specified: 8080:/tcp<empty>"),
        ("bad protocol", "target=80,protocol=foo", "! invalid proto: foo"),
        ("bad port", "published=x,target=80", "! invalid hostPort: x"),
        (
            "part without name",
            "published=8080,80",
            "! invalid publish opts format (should be name=value but got '80')",
        ),
        (
            "part without key",
            "target=80,=8080",
            "! invalid publish opts format (should be name=value but got '=8080')",
        ),
        (
            "trailing comma",
            "target=80,",
            "! invalid publish opts format (should be name=value but got '')",
        ),
        (
            "unknown key",
            "target=80,mode=host",
            "! invalid field key: mode: use published, target, protocol, via, source, allow, \
             proxy-protocol",
        ),
        ("twice", "target=80,target=81", "! duplicate field key: target: give it once"),
        (
            "with extensions",
            "via=nft,target=80,allow=10.0.0.0/8,::1,published=8080",
            "default exact 8080 -> 80/tcp with via=nft,allow=10.0.0.0/8,allow=::1/128",
        ),
    ]);
}

#[test]
fn extensions() {
    check(&[
        ("one", "8080:80,via=relay", "default exact 8080 -> 80/tcp with via=relay"),
        (
            "all",
            "[::1]:80:80/udp,via=ebpf,source=gateway,allow=fd00::1/8,10.0.0.1,proxy-protocol=v2",
            "[::1] exact 80 -> 80/udp with \
             via=ebpf,source=gateway,allow=fd00::/8,allow=10.0.0.1/32,proxy-protocol=v2",
        ),
        ("defaults", "80,via=auto,source=auto", "default ephemeral -> 80/tcp"),
        (
            "bad value",
            "80,via=iptables",
            "! invalid value \"iptables\" for via: use auto, relay, nft, ebpf",
        ),
        (
            "bad network",
            "80,allow=lan",
            "! invalid value \"lan\" for allow: \
             use networks such as 10.0.0.0/8, addresses such as 192.0.2.7, any",
        ),
        (
            "unknown key",
            "80,protocol=udp",
            "! invalid field key: protocol: use via, source, allow, proxy-protocol",
        ),
        ("twice", "80,via=nft,via=relay", "! duplicate field key: via: give it once"),
        (
            "trailing comma",
            "80,",
            "! invalid publish opts format (should be name=value but got '')",
        ),
        (
            "a second spec",
            "8080:80,8443:443",
            "! invalid publish opts format (should be name=value but got '8443:443')",
        ),
        ("the spec is judged first", "x,via=iptables", "! invalid containerPort: x"),
    ]);
}

#[test]
fn api_bindings() {
    let outcome = |container, ip, port| {
        PortSpec::from_binding(container, ip, port)
            .map_or_else(|error| format!("! {error}"), |spec| meaning(&spec))
    };
    assert_eq!(outcome("80/tcp", "", "8080"), "default exact 8080 -> 80/tcp");
    assert_eq!(outcome("80", "127.0.0.1", ""), "127.0.0.1 ephemeral -> 80/tcp");
    assert_eq!(outcome("53/udp", "::", "0"), "[::] ephemeral -> 53/udp");
    assert_eq!(outcome("80/tcp", "", "8000-8010"), "default any of 8000-8010 -> 80/tcp");
    assert_eq!(outcome("80/tcp", "", "aa80"), "! invalid port specification: \"aa80\"");
    assert_eq!(outcome("80/tcp", "", "90-80"), "! invalid port specification: \"90-80\"");
    assert_eq!(outcome("80/tcp", "", "8080/tcp"), "! invalid port specification: \"8080/tcp\"");
    assert_eq!(outcome("80/tcp", "", "0-100"), "! invalid port range: 0-100");
    assert_eq!(outcome("0/tcp", "", "8080"), "! invalid port specification: \"0/tcp\"");
    assert_eq!(outcome("/tcp", "", "8080"), "! invalid port specification: \"/tcp\"");
    assert_eq!(outcome("http/tcp", "", "80"), "! invalid port specification: \"http/tcp\"");
    assert_eq!(outcome("80/foo", "", "80"), "! invalid proto: foo");
    assert_eq!(outcome("80/tcp", "eth0", "80"), "! invalid IP address: eth0");
}

#[test]
fn every_refusal_that_is_terse_has_a_hint() {
    let terse = ["80/foo", "", "eth0:80:80", "x:80", "80:x", "1:80-82", "0-9:80", "0"];
    for text in terse {
        let error = text.parse::<PortSpec>().unwrap_err();
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error}");
    }
}

#[test]
fn an_address_with_one_port_is_told_the_other_is_missing() {
    for text in ["127.0.0.1:80", "[::1]:80", "127.0.0.1:80/udp"] {
        let hint = text.parse::<PortSpec>().unwrap_err().hint().unwrap();
        assert!(hint.contains("two ports"), "{text}: {hint}");
    }
}
