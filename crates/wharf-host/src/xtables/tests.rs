use std::net::IpAddr;

use super::blob;
use super::socket::Bytes;
use super::{Condition, Extension, MaskedAddress, Outcome};
use crate::nftables::IpFamily;

fn extension(name: &str, revision: u8, data: &[u8]) -> Extension {
    Extension { name: name.to_owned(), revision, data: data.to_vec() }
}

fn conditions(name: &str, revision: u8, data: &[u8]) -> Vec<Condition> {
    extension(name, revision, data).conditions(IpFamily::V4)
}

/// Two shorts in the host's order.
fn shorts(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

#[test]
fn ports_of_tcp() {
    let data = [shorts(&[0, 65535, 80, 90]), vec![0, 0x17, 2, 2]].concat();
    assert_eq!(
        conditions("tcp", 0, &data),
        [Condition::DestinationPorts(vec![(80, 90)], true), Condition::TcpFlags(2, 0x17, false)]
    );
}

#[test]
fn lists_of_ports_have_ranges_in_them() {
    let mut data = vec![1, 3];
    data.extend(shorts(&[22, 70, 90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    data.extend([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        conditions("multiport", 1, &data),
        [Condition::DestinationPorts(vec![(22, 22), (70, 90)], false)]
    );
}

#[test]
fn options_that_are_too_short_or_new_are_unknown() {
    for (name, revision, data) in [
        ("tcp", 0, &[1, 2][..]),
        ("conntrack", 3, &[0; 40]),
        ("multiport", 9, &[0; 48]),
        ("set", 4, &[]),
    ] {
        let unknown = [Condition::Unknown(name.to_owned())];
        assert_eq!(conditions(name, revision, data), unknown, "{name}");
    }
}

#[test]
fn targets_that_only_note_decide_nothing() {
    for name in ["LOG", "NFLOG", "CONNMARK", "TCPMSS", "MARK"] {
        assert_eq!(extension(name, 0, &[]).outcome(), Outcome::Continue, "{name}");
    }
    assert_eq!(extension("REJECT", 0, &[]).outcome(), Outcome::Reject);
    let mark = [0x10u32.to_ne_bytes(), 0xf0u32.to_ne_bytes()].concat();
    let set = Outcome::Mark { keep: !0xf0, flip: 0x10 };
    assert_eq!(extension("MARK", 2, &mark).outcome(), set);
}

/// One entry of an IPv4 table with a standard target.
fn entry(source: [u8; 4], target_name: &str, verdict: i32) -> Vec<u8> {
    let mut bytes = vec![0; 112];
    bytes[0..4].copy_from_slice(&source);
    if source != [0; 4] {
        bytes[8..12].copy_from_slice(&[0xff; 4]);
    }
    bytes[88..90].copy_from_slice(&112u16.to_ne_bytes());
    bytes[90..92].copy_from_slice(&152u16.to_ne_bytes());
    let mut target = vec![0; 40];
    target[2..2 + target_name.len()].copy_from_slice(target_name.as_bytes());
    target[32..36].copy_from_slice(&verdict.to_ne_bytes());
    bytes.extend(target);
    bytes
}

/// INPUT with one rule and a policy, then the end.
fn input(verdict: i32, policy: i32) -> Bytes {
    let entries =
        [entry([10, 0, 0, 1], "", verdict), entry([0; 4], "", policy), entry([0; 4], "ERROR", 0)];
    Bytes {
        hooks: 2,
        begins: [0; 5],
        policies: [usize::MAX, 152, 0, 0, 0],
        entries: entries.concat(),
    }
}

#[test]
fn a_chain_has_its_rules_and_its_policy() {
    let table = blob::table(IpFamily::V4, "filter", &input(-1, -2)).unwrap();
    let chain = &table.chains["INPUT"];
    assert_eq!(chain.hook, Some((1, false)));
    let source = MaskedAddress {
        address: "10.0.0.1".parse::<IpAddr>().unwrap(),
        mask: "255.255.255.255".parse().unwrap(),
    };
    assert_eq!(chain.rules.len(), 1);
    assert_eq!(chain.rules[0].conditions, [Condition::Source(source, false)]);
    assert_eq!(chain.rules[0].outcome, Outcome::Drop);
    let table = blob::table(IpFamily::V4, "filter", &input(-5, -1)).unwrap();
    assert_eq!(table.chains["INPUT"].hook, Some((1, true)));
    assert_eq!(table.chains["INPUT"].rules[0].outcome, Outcome::Return);
}

#[test]
fn a_table_cut_short_or_garbled_is_an_error_and_no_more() {
    let whole = input(-1, -2);
    for length in 1..whole.entries.len() {
        let cut = Bytes { entries: whole.entries[..length].to_vec(), ..whole.clone() };
        let read = blob::table(IpFamily::V4, "filter", &cut);
        assert_eq!(read.is_ok(), length % 152 == 0, "{length}");
    }
    for at in 0..whole.entries.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut garbled = whole.clone();
            garbled.entries[at] = value;
            for family in [IpFamily::V4, IpFamily::V6] {
                drop(blob::table(family, "filter", &garbled));
            }
        }
    }
}
