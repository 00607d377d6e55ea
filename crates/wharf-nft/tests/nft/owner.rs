//! Who may change the table, and who takes it over.

use wharf_host::netns::Netns;
use wharf_nft::{Error, NftPlane, Ownership};
use wharf_plan::nft::NftPlan;

use crate::lab::{Lab, available, serve, sh, tcp};
use crate::plans::{bridge, dnat, full};
use crate::table::{Bench, TABLE, changed, nft, replaced};

/// A bench with an owned table; `None` where tables cannot be owned and persistent (6.9).
fn owned() -> Option<Bench> {
    let bench = Bench::new(Ownership::Owned)?;
    if bench.plane.ownership() != Ownership::Owned {
        eprintln!("SKIPPED: this kernel has no tables that are owned and persistent (6.9)");
        return None;
    }
    Some(bench)
}

/// The handle of the table and of a chain: other ones after either was made anew.
fn handles(netns: &Netns) -> String {
    sh(netns, "/usr/sbin/nft -a list table inet wharf | grep -E 'table|chain publish'")
}

#[test]
fn an_owned_table_does_not_notice_a_foreign_flush() {
    let Some(mut bench) = owned() else { return };
    bench.plane.apply(&full()).unwrap();
    let Some(_) = nft(&bench.netns, "flush ruleset") else { return };
    bench.holds(&full());
    assert_eq!(bench.plane.observe().unwrap().ownership, Some(Ownership::Owned));
    // Nor can anything in it be changed.
    let script = "/usr/sbin/nft 'delete element inet wharf ports4 { tcp . 8080 }' 2>&1 || true";
    assert!(sh(&bench.netns, script).contains("Operation not permitted"));
    bench.holds(&full());
    let bare = NftPlan { way_back: true, ..NftPlan::default() };
    let all = bench.plane.apply(&bare).unwrap().removed;
    assert_eq!(bench.plane.apply(&full()).unwrap(), changed(all, 0));
    bench.plane.remove().unwrap();
    assert_eq!(bench.plane.observe().unwrap().ownership, None);
}

#[test]
fn a_shared_table_goes_with_a_foreign_flush_and_comes_back() {
    let Some(mut bench) = Bench::shared() else { return };
    let all = bench.plane.apply(&full()).unwrap().added;
    let Some(_) = nft(&bench.netns, "flush ruleset") else { return };
    assert_eq!(bench.plane.verify(&full()).unwrap(), ["the table is missing"]);
    assert_eq!(bench.plane.apply(&full()).unwrap(), replaced(all));
    bench.holds(&full());
}

#[test]
fn the_next_daemon_takes_over_what_the_last_one_left() {
    let Some(mut bench) = owned() else { return };
    let all = bench.plane.apply(&full()).unwrap().added;
    let before = nft(&bench.netns, "--version").map(|_| handles(&bench.netns));
    let successor = bench.reopened(Ownership::Owned);
    drop(std::mem::replace(&mut bench.plane, successor));
    bench.holds(&full());
    assert_eq!(bench.plane.observe().unwrap().ownership, Some(Ownership::Shared), "orphaned");

    assert_eq!(bench.plane.apply(&full()).unwrap(), replaced(all));
    assert_eq!(bench.plane.observe().unwrap().ownership, Some(Ownership::Owned));
    assert_eq!(nft(&bench.netns, "--version").map(|_| handles(&bench.netns)), before);
    let Some(_) = nft(&bench.netns, "flush ruleset") else { return };
    bench.holds(&full());
}

#[test]
fn nobody_protects_an_orphan_and_the_next_daemon_makes_it_anew() {
    let Some(mut bench) = owned() else { return };
    let all = bench.plane.apply(&full()).unwrap().added;
    let successor = bench.reopened(Ownership::Owned);
    drop(std::mem::replace(&mut bench.plane, successor));
    let Some(_) = nft(&bench.netns, "flush ruleset") else { return };
    assert_eq!(bench.plane.observe().unwrap().ownership, None);
    assert_eq!(bench.plane.apply(&full()).unwrap(), replaced(all));
    bench.holds(&full());
}

#[test]
fn a_table_of_another_living_daemon_is_refused_with_its_name() {
    let Some(mut bench) = owned() else { return };
    bench.plane.apply(&full()).unwrap();
    for ownership in [Ownership::Owned, Ownership::Shared] {
        let mut other = bench.reopened(ownership);
        let in_its_namespace =
            |act: &mut (dyn FnMut() -> Error + Send)| bench.netns.run(act).unwrap().to_string();
        let me = format!("(process {})", std::process::id());
        let refused = in_its_namespace(&mut || other.apply(&full()).unwrap_err());
        assert!(
            refused.contains("table inet wharf belongs to ") && refused.contains(&me),
            "{refused}"
        );
        let refused = in_its_namespace(&mut || other.remove().unwrap_err());
        assert!(refused.contains(&me), "{refused}");
    }
    bench.holds(&full());
    let mut other = bench.reopened(Ownership::Owned);
    bench.plane.remove().unwrap();
    assert!(other.apply(&full()).unwrap().replaced);
}

#[test]
fn a_table_goes_from_shared_to_owned_and_back() {
    let Some(mut bench) = owned() else { return };
    for ownership in [Ownership::Shared, Ownership::Owned, Ownership::Shared, Ownership::Owned] {
        let successor = bench.reopened(ownership);
        drop(std::mem::replace(&mut bench.plane, successor));
        bench.plane.apply(&full()).unwrap();
        bench.holds(&full());
        assert_eq!(bench.plane.observe().unwrap().ownership, Some(ownership));
    }
}

#[test]
fn no_connection_fails_while_daemons_come_and_go() {
    if !available() {
        return;
    }
    let lab = Lab::build();
    let plan = NftPlan {
        bridges: [bridge("br1", &["10.1.0.0/24", "fd00:1::/64"])].into(),
        dnat: [dnat("tcp * 8080", "10.1.0.2 80")].into(),
        ..NftPlan::default()
    };
    serve(&lab.web, "10.1.0.2:80");
    let daemon = || {
        let mut plane = NftPlane::open_as(TABLE, Ownership::Owned).unwrap();
        plane.apply(&plan).unwrap();
        plane
    };
    let mut plane = lab.host.run(daemon).unwrap();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for _ in 0..300 {
                let answer = tcp(&lab.client, "192.0.2.1:8080");
                assert_eq!(answer.as_deref(), Some("192.0.2.10 at 80"));
            }
        });
        let mut daemons = 1;
        while !asking.is_finished() {
            drop(plane);
            plane = lab.host.run(daemon).unwrap();
            daemons += 1;
        }
        eprintln!("{daemons} daemons");
    });
}
