//! Being told who has touched the table.

use std::time::Duration;

use wharf_host::netns::Netns;
use wharf_host::nftables::{RulesetWatch, Touch};
use wharf_nft::Ownership;
use wharf_plan::nft::NftPlan;

use crate::plans::{dnat, full};
use crate::table::{Bench, TABLE, nft, scattered};

fn watch(bench: &Bench) -> RulesetWatch {
    let open = || RulesetWatch::open(TABLE).unwrap();
    let mut watch = bench.netns.run(open).unwrap();
    watch.disregard(bench.plane.port().unwrap()).unwrap();
    watch
}

/// Whether there is something to read, now or a moment later.
fn is_readable(watch: &RulesetWatch) -> bool {
    let socket = socket2::SockRef::from(watch);
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket.peek(&mut [std::mem::MaybeUninit::uninit(); 16]).is_ok()
}

#[track_caller]
fn touched_by_nft(watch: &mut RulesetWatch) {
    let touches = watch.read().unwrap();
    let [Touch { process: Some((pid, name)) }] = touches.as_slice() else {
        panic!("{touches:?}");
    };
    assert!(*pid > 0 && name == "nft", "{touches:?}");
    assert_eq!(touches[0].to_string(), format!("nft (process {pid})"));
}

fn foreign(netns: &Netns, script: &str) {
    nft(netns, &format!("'{script}'"));
}

#[test]
fn our_own_changes_are_not_told() {
    let Some(mut bench) = Bench::shared() else { return };
    let mut watch = watch(&bench);
    bench.plane.apply(&full()).unwrap();
    bench.plane.apply(&scattered(5_000)).unwrap();
    let one = NftPlan { dnat: [dnat("tcp * 443", "10.1.0.2 443")].into(), ..NftPlan::default() };
    bench.plane.change(&NftPlan::default(), &one).unwrap();
    assert!(!is_readable(&watch), "the kernel left them out");
    assert_eq!(watch.read().unwrap(), []);
    assert!(!bench.plane.changed_by_others().unwrap());
}

#[test]
fn whoever_else_touches_the_table_is_named() {
    let Some(mut bench) = Bench::shared() else { return };
    let Some(_) = nft(&bench.netns, "--version") else { return };
    let mut watch = watch(&bench);
    bench.plane.apply(&full()).unwrap();
    let touching = [
        "delete element inet wharf ports4 { tcp . 8080 }",
        "add element inet wharf bridges { \"foreign0\" }",
        "flush chain inet wharf publish",
        "add rule inet wharf forward drop",
        "add chain inet wharf more",
        "add set inet wharf more { type ipv4_addr; }",
        "add table inet other; delete table inet wharf; add table inet another",
    ];
    for script in touching {
        foreign(&bench.netns, script);
        assert!(is_readable(&watch), "{script}");
        touched_by_nft(&mut watch);
        assert!(bench.plane.changed_by_others().unwrap());
        assert_eq!(watch.read().unwrap(), []);
    }
    bench.plane.forget();
    bench.plane.apply(&full()).unwrap();
    assert!(!bench.plane.changed_by_others().unwrap());
    nft(&bench.netns, "flush ruleset");
    touched_by_nft(&mut watch);
}

#[test]
fn other_tables_are_others_business() {
    let Some(mut bench) = Bench::shared() else { return };
    let mut watch = watch(&bench);
    bench.plane.apply(&full()).unwrap();
    let Some(_) = nft(&bench.netns, "'add table ip wharf; add table inet wharf2'") else { return };
    foreign(&bench.netns, "add chain ip wharf publish; add chain inet wharf2 publish");
    assert_eq!(watch.read().unwrap(), []);
    // The generation is everyone's; a look at the table settles it.
    assert!(bench.plane.changed_by_others().unwrap());
    bench.holds(&full());
    assert!(!bench.plane.changed_by_others().unwrap());
}

#[test]
fn what_could_not_be_read_may_have_been_ours() {
    let Some(mut bench) = Bench::shared() else { return };
    let mut watch = watch(&bench);
    bench.plane.apply(&full()).unwrap();
    let Some(_) = nft(&bench.netns, "'add table inet other'") else { return };
    watch.read().unwrap();
    socket2::SockRef::from(&watch).set_recv_buffer_size(4096).unwrap();
    for n in 0..20 {
        foreign(&bench.netns, &format!("add chain inet other chain{n}"));
    }
    let touches = watch.read().unwrap();
    assert!(touches.contains(&Touch { process: None }), "{touches:?}");
    let text = Touch { process: None }.to_string();
    assert_eq!(text, "somebody, among more changes than could be read");
    // And it goes on from there.
    foreign(&bench.netns, "add chain inet wharf more");
    touched_by_nft(&mut watch);
}

#[test]
fn an_owned_table_is_not_touched_by_a_flush() {
    let Some(mut bench) = Bench::new(Ownership::Owned) else { return };
    let mut watch = watch(&bench);
    bench.plane.apply(&full()).unwrap();
    if bench.plane.ownership() == Ownership::Shared {
        eprintln!("SKIPPED: this kernel has no tables that are owned and persistent (6.9)");
        return;
    }
    let Some(_) = nft(&bench.netns, "'add table inet other'") else { return };
    nft(&bench.netns, "flush ruleset");
    assert_eq!(watch.read().unwrap(), []);
}
