use wharf_plan::nft::{Dnat, NftPlan};
use wharf_spec::{PortRange, Proto};

use super::Contents;
use crate::Error;

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
    let sizes = contents.iter().map(|(set, elements)| (set.name, elements.len()));
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
    assert!(matches!(error, Error::Conflict(_, _)));
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
