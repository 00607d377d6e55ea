//! What ends up in the kernel.

use std::time::{Duration, Instant};

use wharf_host::netns::Netns;
use wharf_nft::{Applied, NftPlane, Ownership};
use wharf_plan::nft::NftPlan;

use crate::lab::{available, sh};
use crate::plans::{bridge, dnat, full};

pub(crate) const TABLE: &str = "wharf";

pub(crate) struct Bench {
    pub(crate) netns: Netns,
    pub(crate) plane: NftPlane,
}

impl Bench {
    /// `None` where namespaces cannot be made.
    pub(crate) fn new(ownership: Ownership) -> Option<Self> {
        available().then_some(())?;
        let netns = Netns::create().unwrap();
        let plane = netns.run(|| NftPlane::open_as(TABLE, ownership)).unwrap().unwrap();
        Some(Self { netns, plane })
    }

    pub(crate) fn shared() -> Option<Self> {
        Self::new(Ownership::Shared)
    }

    /// A second plane, as a restarted daemon would open it.
    pub(crate) fn reopened(&self, ownership: Ownership) -> NftPlane {
        self.netns.run(|| NftPlane::open_as(TABLE, ownership)).unwrap().unwrap()
    }

    #[track_caller]
    pub(crate) fn holds(&mut self, plan: &NftPlan) {
        assert_eq!(self.plane.verify(plan).unwrap(), [""; 0]);
    }
}

/// The `nft` program is the oracle; without it there is nothing to compare with.
pub(crate) fn nft(netns: &Netns, arguments: &str) -> Option<String> {
    if !std::path::Path::new("/usr/sbin/nft").exists() {
        eprintln!("SKIPPED: /usr/sbin/nft is not installed (apt-get install nftables)");
        return None;
    }
    Some(sh(netns, &format!("/usr/sbin/nft {arguments}")))
}

/// The ruleset as `nft` lists it, with the elements of each set sorted: hash tables list theirs in
/// an order that changes from one table to the next.
fn listing(netns: &Netns) -> Option<String> {
    let mut sorted = String::new();
    let mut rest = nft(netns, "list ruleset")?;
    while let Some((before, after)) = rest.split_once("elements = { ") {
        let (elements, after) = after.split_once(" }").unwrap();
        let mut elements: Vec<&str> = elements.split(',').map(str::trim).collect();
        elements.sort_unstable();
        sorted += &format!("{before}elements = {{ {} }}", elements.join(",\n\t\t\t     "));
        rest = after.to_owned();
    }
    Some(sorted + &rest)
}

pub(crate) fn changed(added: usize, removed: usize) -> Applied {
    Applied { added, removed, replaced: false }
}

pub(crate) fn replaced(added: usize) -> Applied {
    Applied { added, removed: 0, replaced: true }
}

/// `count` ports, none next to another, to one container.
pub(crate) fn scattered(count: u16) -> NftPlan {
    let entry = |port: u16| dnat(&format!("tcp * {port}"), "10.1.0.2 80");
    NftPlan { dnat: (0..count).map(|n| entry(1024 + 2 * n)).collect(), ..NftPlan::default() }
}

#[test]
fn nat_can_be_probed_without_a_trace() {
    let Some(bench) = Bench::shared() else { return };
    assert!(bench.netns.run(wharf_host::nftables::probe_nat).unwrap());
    let Some(listing) = nft(&bench.netns, "list ruleset") else { return };
    assert_eq!(listing, "");
}

#[test]
fn an_empty_plan_lists_as_the_bare_shape() {
    let Some(mut bench) = Bench::shared() else { return };
    assert_eq!(bench.plane.apply(&NftPlan::default()).unwrap(), replaced(0));
    bench.holds(&NftPlan::default());
    let Some(listing) = listing(&bench.netns) else { return };
    insta::assert_snapshot!("empty", listing);
}

#[test]
fn a_full_plan_lists_with_names() {
    let Some(mut bench) = Bench::shared() else { return };
    bench.plane.apply(&full()).unwrap();
    bench.holds(&full());
    let Some(listing) = listing(&bench.netns) else { return };
    insta::assert_snapshot!("full", listing);
    // What we wrote, read by nft and written by nft, is the same again.
    let again = "list ruleset > $t; /usr/sbin/nft flush ruleset; /usr/sbin/nft -f $t; rm $t";
    sh(&bench.netns, &format!("t=$(mktemp); /usr/sbin/nft {again}"));
    bench.holds(&full());
}

#[test]
fn the_same_plan_twice_changes_nothing() {
    let Some(mut bench) = Bench::shared() else { return };
    bench.plane.apply(&full()).unwrap();
    let generation = || sh(&bench.netns, "/usr/sbin/nft -a list ruleset | grep handle | md5sum");
    let before = nft(&bench.netns, "--version").map(|_| generation());
    assert_eq!(bench.plane.apply(&full()).unwrap(), Applied::default());
    assert_eq!(nft(&bench.netns, "--version").map(|_| generation()), before);
}

#[test]
fn a_change_sends_elements_only() {
    let Some(mut bench) = Bench::shared() else { return };
    let mut plan = full();
    bench.plane.apply(&plan).unwrap();

    plan.dnat.insert(dnat("tcp * 443", "10.1.0.2 8443"));
    assert_eq!(bench.plane.apply(&plan).unwrap(), changed(1, 0));
    bench.holds(&plan);

    // Moved to another container: the same key, deleted and added in one transaction.
    plan.dnat.remove(&dnat("tcp * 443", "10.1.0.2 8443"));
    plan.dnat.insert(dnat("tcp * 443", "10.1.0.9 8443"));
    plan.dnat.remove(&dnat("tcp * 9000-9999", "10.1.0.2 9000-9999"));
    plan.dnat.insert(dnat("tcp * 9000-9999", "10.1.0.9 9000-9999"));
    assert_eq!(bench.plane.apply(&plan).unwrap(), changed(2, 2));
    bench.holds(&plan);

    plan.dnat.remove(&dnat("udp * 7000-7002", "10.1.0.2 17000-17002"));
    assert_eq!(bench.plane.apply(&plan).unwrap(), changed(0, 3));
    bench.holds(&plan);
}

#[test]
fn networks_come_and_go() {
    let Some(mut bench) = Bench::shared() else { return };
    let mut plan = full();
    bench.plane.apply(&plan).unwrap();
    let next = bridge("br-next", &["10.1.1.0/24", "10.1.2.0/24", "fd00:1:0:1::/64"]);
    plan.bridges.insert(next.clone());
    // A bridge that answers, a passage, and a hairpin and a masquerade range for each subnet.
    assert_eq!(bench.plane.apply(&plan).unwrap(), changed(9, 0));
    bench.holds(&plan);
    plan.bridges.remove(&next);
    assert_eq!(bench.plane.apply(&plan).unwrap(), changed(0, 9));
    bench.holds(&plan);
    plan.bridges.clear();
    bench.plane.apply(&plan).unwrap();
    bench.holds(&plan);
}

#[test]
fn a_deleted_table_is_built_again() {
    let Some(mut bench) = Bench::shared() else { return };
    let mut plan = full();
    let all = bench.plane.apply(&plan).unwrap().added;
    let Some(_) = nft(&bench.netns, "flush ruleset") else { return };
    assert_eq!(bench.plane.verify(&plan).unwrap(), ["the table is missing"]);
    assert_eq!(bench.plane.apply(&plan).unwrap(), replaced(all));

    // The same without having looked: the difference is refused.
    nft(&bench.netns, "delete table inet wharf");
    plan.dnat.insert(dnat("tcp * 443", "10.1.0.2 8443"));
    assert_eq!(bench.plane.apply(&plan).unwrap(), replaced(all + 1));
    bench.holds(&plan);
}

#[test]
fn a_table_changed_by_others_is_found_and_mended() {
    let Some(mut bench) = Bench::shared() else { return };
    let mut plan = full();
    bench.plane.apply(&plan).unwrap();
    let script = "'flush chain inet wharf publish; delete element inet wharf ports4 { tcp . 8080 }; \
                  add element inet wharf bridges { \"foreign0\" }'";
    let Some(_) = nft(&bench.netns, script) else { return };
    let expected = [
        "chain publish has 0 rules, not 8",
        "set ports4: 1 elements missing, 0 foreign",
        "set bridges: 0 elements missing, 1 foreign",
    ];
    assert_eq!(bench.plane.verify(&plan).unwrap(), expected);
    assert!(bench.plane.apply(&plan).unwrap().replaced);
    bench.holds(&plan);

    // An element of ours that someone deleted cannot be deleted again.
    nft(&bench.netns, "'delete element inet wharf ports4 { tcp . 8080 }'");
    plan.dnat.remove(&dnat("tcp * 8080", "10.1.0.2 80"));
    assert!(bench.plane.apply(&plan).unwrap().replaced);
    bench.holds(&plan);
}

#[test]
fn other_tables_are_left_alone() {
    let Some(mut bench) = Bench::shared() else { return };
    let foreign = "'add table ip wharf; add table inet other; \
                   add set inet other ports4 { type inet_service; }; add chain inet other publish'";
    let Some(_) = nft(&bench.netns, foreign) else { return };
    let before = nft(&bench.netns, "list ruleset");
    bench.plane.apply(&full()).unwrap();
    bench.plane.apply(&NftPlan::default()).unwrap();
    bench.plane.remove().unwrap();
    bench.plane.remove().unwrap();
    assert_eq!(nft(&bench.netns, "list ruleset"), before);
}

#[test]
fn contradictions_are_refused_before_anything_changes() {
    let Some(mut bench) = Bench::shared() else { return };
    bench.plane.apply(&full()).unwrap();
    let mut plan = full();
    plan.dnat.insert(dnat("tcp * 8080", "10.1.0.9 80"));
    let error = bench.plane.apply(&plan).unwrap_err();
    assert_eq!(error.to_string(), "8080/tcp is to go to both 10.1.0.2 and 10.1.0.9");
    let mut plan = full();
    plan.dnat.insert(dnat("tcp 192.0.2.1 81", "fd00:1::2 81"));
    let error = bench.plane.apply(&plan).unwrap_err();
    let expected =
        "81/tcp cannot be rewritten to fd00:1::2: the host address is of the other IP family";
    assert_eq!(error.to_string(), expected);
    assert_eq!(bench.plane.apply(&full()).unwrap(), Applied::default());
    bench.holds(&full());
}

#[test]
fn a_refusal_by_the_kernel_says_what_and_leaves_the_table() {
    let Some(mut bench) = Bench::shared() else { return };
    bench.plane.apply(&full()).unwrap();
    let mut plan = full();
    // Overlaps with 9000-9999 of the full plan, which the reservation would not have allowed.
    plan.dnat.insert(dnat("tcp * 9500-10500", "10.1.0.9 9500-10500"));
    let error = bench.plane.apply(&plan).unwrap_err().to_string();
    assert!(error.contains("inet wharf: add elements to port_ranges4: File exists"), "{error}");
    bench.holds(&full());
}

#[test]
fn a_new_plane_adopts_by_replacing() {
    let Some(mut bench) = Bench::shared() else { return };
    let all = bench.plane.apply(&full()).unwrap().added;
    bench.plane = bench.reopened(Ownership::Shared);
    assert_eq!(bench.plane.apply(&full()).unwrap(), replaced(all));
    bench.holds(&full());
}

#[test]
fn a_table_of_another_shape_makes_way() {
    let Some(mut bench) = Bench::shared() else { return };
    let script = "'add table inet wharf; \
                   add chain inet wharf forward { type filter hook input priority 5; policy drop; }; \
                   add set inet wharf ports4 { type ether_addr; }; \
                   add rule inet wharf forward drop'";
    let Some(_) = nft(&bench.netns, script) else { return };
    assert!(bench.plane.apply(&full()).unwrap().replaced);
    bench.holds(&full());
    let Some(listing) = listing(&bench.netns) else { return };
    insta::assert_snapshot!("full", listing);
}

#[test]
fn a_rule_that_comes_or_goes_replaces_the_table_at_once() {
    let Some(mut bench) = Bench::shared() else { return };
    let with = full();
    let without = NftPlan { way_back: false, ..full() };
    for plan in [&with, &without, &with] {
        assert!(bench.plane.apply(plan).unwrap().replaced);
        bench.holds(plan);
        assert_eq!(bench.plane.apply(plan).unwrap(), Applied::default());
    }
    assert_ne!(bench.plane.verify(&without).unwrap(), [""; 0]);
}

#[test]
fn timed_ten_thousand_ports_are_one_quick_transaction() {
    let Some(mut bench) = Bench::shared() else { return };
    bench.plane.apply(&NftPlan::default()).unwrap();
    let mut timed = |what: &str, plan: &NftPlan, expected: Applied| {
        let start = Instant::now();
        assert_eq!(bench.plane.apply(plan).unwrap(), expected);
        let took = start.elapsed();
        eprintln!("{what}: {took:?}");
        // Twenty times what an unoptimised build takes on an idle machine.
        assert!(took < Duration::from_secs(2), "{what} took {took:?}");
        bench.holds(plan);
    };
    timed("add 10,000 scattered ports", &scattered(10_000), changed(10_000, 0));
    let mut plan = scattered(10_000);
    plan.dnat.insert(dnat("tcp * 40000-49999", "10.1.0.2 40000-49999"));
    timed("add a range of 10,000", &plan, changed(1, 0));
    let shifted = dnat("udp * 20000-29999", "10.1.0.2 30000-39999");
    plan.dnat.insert(shifted);
    timed("add a shifted range of 10,000", &plan, changed(10_000, 0));
    timed("delete everything", &NftPlan::default(), changed(0, 20_001));
    timed("add 32,000 scattered ports", &scattered(32_000), changed(32_000, 0));
    let range = |n: u16| format!("{}-{}", 1024 + 20 * n, 1033 + 20 * n);
    let ranges =
        (0..2_000).map(|n| dnat(&format!("tcp * {}", range(n)), &format!("10.1.0.2 {}", range(n))));
    let ranges = NftPlan { dnat: ranges.collect(), ..NftPlan::default() };
    timed("go over to 2,000 ranges", &ranges, changed(2_000, 32_000));
}
