use wharf_plan::nft::{AllowList, Dnat, LoopbackGuard, NftPlan, OpenPort};
use wharf_spec::{PortRange, Proto, PublicationId};

use super::Contents;
use crate::Error;

mod properties;

fn entry(first: u16, last: u16, target: &str, to: u16) -> Dnat {
    Dnat {
        proto: Proto::Tcp,
        host: None,
        ports: PortRange::new(first, last).unwrap(),
        target: target.parse().unwrap(),
        target_ports: PortRange::new(to, to + (last - first)).unwrap(),
    }
}

fn contents(entries: &[Dnat]) -> Contents {
    let plan = NftPlan { dnat: entries.iter().cloned().collect(), ..NftPlan::default() };
    Contents::of(&plan).unwrap()
}

/// How many elements each set has, the empty ones left out.
fn sizes(contents: &Contents) -> Vec<(&'static str, usize)> {
    let sizes = contents.iter().map(|(set, elements)| (set.name, elements.count()));
    sizes.filter(|(_, size)| *size > 0).collect()
}

#[test]
fn a_range_that_keeps_its_numbers_is_one_element() {
    let kept = contents(&[entry(1, 65535, "10.0.0.2", 1)]);
    assert_eq!(sizes(&kept), [("port_ranges4", 1)]);
    let shifted = contents(&[entry(8000, 8099, "fd00::2", 80)]);
    assert_eq!(sizes(&shifted), [("ports6", 100)]);
    let single = contents(&[entry(80, 80, "10.0.0.2", 80)]);
    assert_eq!(sizes(&single), [("ports4", 1)]);
}

#[test]
fn changes_are_what_differs() {
    let before = contents(&[entry(80, 80, "10.0.0.2", 80), entry(81, 81, "10.0.0.2", 81)]);
    let after = contents(&[entry(81, 81, "10.0.0.3", 81), entry(82, 82, "10.0.0.2", 82)]);
    let changes = before.changes_to(&after);
    let counts: Vec<_> = changes
        .iter()
        .map(|change| (change.set.name, change.removed.len(), change.added.len()))
        .collect();
    assert_eq!(counts, [("ports4", 2, 2)]);
    assert!(before.changes_to(&before).is_empty());
}

#[test]
fn two_targets_for_one_port_are_named() {
    let entries = [entry(80, 80, "10.0.0.2", 80), entry(80, 80, "10.0.0.3", 80)];
    let plan = NftPlan { dnat: entries.into(), ..NftPlan::default() };
    let error = Contents::of(&plan).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }));
    assert_eq!(error.to_string(), "80/tcp is to go to both 10.0.0.2 and 10.0.0.3");
}

#[test]
fn ranges_of_different_length_cannot_be_mapped() {
    let short = PortRange::new(80, 81).unwrap();
    let uneven = Dnat { target_ports: short, ..entry(8000, 8009, "10.0.0.2", 80) };
    let plan = NftPlan { dnat: [uneven].into(), ..NftPlan::default() };
    let error = Contents::of(&plan).unwrap_err().to_string();
    let expected = "8000-8009/tcp cannot be rewritten to 10.0.0.2: \
                    the two port ranges differ in length";
    assert_eq!(error, expected);
}

fn ports(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

fn allow(host: &str, range: PortRange, from: &[&str]) -> AllowList {
    let from = from.iter().map(|net| net.parse().unwrap()).collect();
    AllowList { proto: Proto::Tcp, host: host.parse().unwrap(), ports: range, from }
}

fn open(id: &str, range: PortRange, from: &[&str]) -> OpenPort {
    OpenPort {
        proto: Proto::Tcp,
        address: "10.0.0.2".parse().unwrap(),
        ports: range,
        from: from.iter().map(|net| net.parse().unwrap()).collect(),
        publication: PublicationId(id.into()),
    }
}

#[test]
fn an_allow_list_is_a_restriction_and_its_clients() {
    let lists = [
        allow("0.0.0.0/0", ports(80, 99), &["10.0.0.0/8", "192.0.2.1/32"]),
        allow("::/0", ports(80, 99), &[]),
        allow("fe80::1/128", ports(100, 100), &["::/0"]),
    ];
    let plan = NftPlan { allow: lists.into(), ..NftPlan::default() };
    let expected = [("restricted4", 1), ("restricted6", 2), ("allowed4", 2), ("allowed6", 1)];
    assert_eq!(sizes(&Contents::of(&plan).unwrap()), expected);
}

#[test]
fn two_lists_for_one_port_are_a_contradiction() {
    let lists = [
        allow("0.0.0.0/0", ports(80, 80), &["10.0.0.0/8"]),
        allow("0.0.0.0/0", ports(80, 81), &["10.0.0.0/8"]),
    ];
    let plan = NftPlan { allow: lists.into(), ..NftPlan::default() };
    let error = Contents::of(&plan).unwrap_err().to_string();
    let expected = "two entries of the plan overlap in set restricted4 and say different things";
    assert_eq!(error, expected);
}

#[test]
fn ports_opened_twice_are_cut_where_they_meet() {
    let plan = NftPlan {
        open: [
            open("a", ports(80, 90), &["10.0.0.0/8"]),
            open("b", ports(85, 100), &["10.1.0.0/16", "192.0.2.0/24"]),
            open("c", ports(200, 65535), &["0.0.0.0/0"]),
            open("d", ports(200, 65535), &["0.0.0.0/0"]),
        ]
        .into(),
        ..NftPlan::default()
    };
    // 80-84 for one, 85-90 for two, 91-100 for two, 200 and on for everyone.
    assert_eq!(sizes(&Contents::of(&plan).unwrap()), [("open4", 6)]);
}

#[test]
fn a_change_contradicts_only_what_stays() {
    let one = |target, to| [entry(80, 80, target, to)];
    let mut contents = contents(&one("10.0.0.2", 80));
    let plan = |entries: [Dnat; 1]| NftPlan { dnat: entries.into(), ..NftPlan::default() };
    let (nothing, other) = (NftPlan::default(), plan(one("10.0.0.3", 80)));

    let error = contents.delta(&nothing, &other).unwrap_err().to_string();
    assert_eq!(error, "80/tcp is to go to both 10.0.0.2 and 10.0.0.3");

    let moved = contents.delta(&plan(one("10.0.0.2", 80)), &other).unwrap();
    contents.enact(&moved);
    assert_eq!(contents, super::tests::contents(&one("10.0.0.3", 80)));
    // What is there already, or is not there to be taken, needs no change.
    assert!(contents.delta(&plan(one("10.0.0.2", 80)), &other).unwrap().changes.is_empty());
    contents.enact(&moved.reversed());
    assert_eq!(contents, super::tests::contents(&one("10.0.0.2", 80)));
}
