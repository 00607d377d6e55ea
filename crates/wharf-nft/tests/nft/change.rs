//! Publications that come and go one by one.

use std::time::{Duration, Instant};

use wharf_host::nftables::RulesetWatch;
use wharf_nft::{Applied, Error, NftPlane};
use wharf_plan::nft::{Dnat, NftPlan};

use crate::plans::{allow, dnat, full, open_to};
use crate::table::{Bench, TABLE, changed, nft, replaced, scattered};

fn of(entries: &[Dnat]) -> NftPlan {
    NftPlan { dnat: entries.iter().cloned().collect(), ..NftPlan::default() }
}

fn nothing() -> NftPlan {
    NftPlan::default()
}

#[test]
fn publications_come_move_and_go() {
    let Some(mut bench) = Bench::shared() else { return };
    let mut plan = full();
    bench.plane.apply(&plan).unwrap();

    let mut fresh = of(&[dnat("tcp * 443", "10.1.0.2 8443"), dnat("tcp * 443", "fd00:1::2 8443")]);
    fresh.allow.insert(allow("tcp 0.0.0.0/0 443", &["10.0.0.0/8", "192.0.2.0/24"]));
    fresh.open.insert(open_to("10.3.0.2", "75-85", &["192.0.2.0/24"]));
    // Two ports, a restriction, two clients; 75-79, 80 and 81-85 where only 80 was open.
    assert_eq!(bench.plane.change(&nothing(), &fresh).unwrap(), changed(7, 0));
    plan.dnat.extend(fresh.dnat.clone());
    plan.allow.extend(fresh.allow.clone());
    plan.open.extend(fresh.open.clone());
    bench.holds(&plan);
    assert_eq!(bench.plane.change(&nothing(), &fresh).unwrap(), Applied::default());

    let here = of(&[dnat("tcp * 443", "10.1.0.2 8443")]);
    let there = of(&[dnat("tcp * 443", "10.1.0.9 8443")]);
    assert_eq!(bench.plane.change(&here, &there).unwrap(), changed(1, 1));
    assert_eq!(bench.plane.change(&there, &here).unwrap(), changed(1, 1));
    bench.holds(&plan);

    assert_eq!(bench.plane.change(&fresh, &nothing()).unwrap(), changed(0, 7));
    bench.holds(&full());
    assert_eq!(bench.plane.apply(&full()).unwrap(), Applied::default());
}

#[test]
fn a_change_needs_a_plan_to_change() {
    let Some(mut bench) = Bench::shared() else { return };
    let error = bench.plane.change(&nothing(), &nothing()).unwrap_err();
    assert!(matches!(error, Error::NotApplied(_)), "{error}");
}

#[test]
fn a_contradicting_change_leaves_everything() {
    let Some(mut bench) = Bench::shared() else { return };
    bench.plane.apply(&full()).unwrap();
    let error = bench.plane.change(&nothing(), &of(&[dnat("tcp * 8080", "10.1.0.9 80")]));
    let text = error.unwrap_err().to_string();
    assert_eq!(text, "8080/tcp is to go to both 10.1.0.2 and 10.1.0.9");
    // What only the kernel notices, an overlap of ranges, is undone as well.
    let overlapping = of(&[dnat("tcp * 9500-10500", "10.1.0.9 9500-10500")]);
    let text = bench.plane.change(&nothing(), &overlapping).unwrap_err().to_string();
    assert!(text.contains("add elements to port_ranges4: File exists"), "{text}");
    bench.holds(&full());
    let fresh = of(&[dnat("tcp * 443", "10.1.0.2 8443")]);
    assert!(bench.plane.change(&nothing(), &fresh).unwrap().replaced);
    assert_eq!(bench.plane.change(&fresh, &nothing()).unwrap(), changed(0, 1));
    bench.holds(&full());
}

#[test]
fn a_change_to_a_table_that_others_have_changed_replaces_it() {
    let Some(mut bench) = Bench::shared() else { return };
    let all = bench.plane.apply(&full()).unwrap().added;
    let fresh = of(&[dnat("tcp * 443", "10.1.0.2 8443")]);
    let Some(_) = nft(&bench.netns, "flush ruleset") else { return };
    assert_eq!(bench.plane.change(&nothing(), &fresh).unwrap(), replaced(all + 1));
    nft(&bench.netns, "'delete element inet wharf ports4 { tcp . 443 }'");
    assert_eq!(bench.plane.change(&fresh, &nothing()).unwrap(), replaced(all));
    bench.holds(&full());
}

#[test]
fn rules_count_by_what_they_are_for() {
    let Some(mut bench) = Bench::shared() else { return };
    bench.plane.apply(&full()).unwrap();
    let counters = bench.plane.counters().unwrap();
    let names: Vec<&str> = counters.keys().map(String::as_str).collect();
    let expected = [
        "from an internal network",
        "not on the allow-list",
        "not published",
        "published on loopback only",
        "to an internal network",
    ];
    assert_eq!(names, expected);
    assert!(counters.values().all(|counted| counted.packets == 0 && counted.bytes == 0));
}

/// What one of `count` published ports comes to, with an allow-list or without one.
fn published(port: u16, with_list: bool) -> NftPlan {
    let mut plan = of(&[dnat(&format!("tcp * {port}"), "10.1.0.2 80")]);
    if with_list {
        plan.allow.insert(allow(&format!("tcp 0.0.0.0/0 {port}"), &["10.0.0.0/8"]));
    }
    plan
}

fn many(count: u16, with_lists: bool) -> NftPlan {
    let mut plan = scattered(count);
    for port in (0..count).filter(|_| with_lists).map(|n| 1024 + 2 * n) {
        plan.allow.extend(published(port, true).allow);
    }
    plan
}

/// The medians of adding and deleting one more port.
fn medians(plane: &mut NftPlane, fresh: &NftPlan) -> [Duration; 2] {
    let timed = |plane: &mut NftPlane, removed: &NftPlan, added: &NftPlan| {
        let start = Instant::now();
        plane.change(removed, added).unwrap();
        start.elapsed()
    };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..200 {
        times[0].push(timed(plane, &nothing(), fresh));
        times[1].push(timed(plane, fresh, &nothing()));
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}

#[test]
fn timed_a_change_costs_the_same_whatever_else_there_is() {
    let Some(mut bench) = Bench::shared() else { return };
    let [few, plenty] = [10, 10_000].map(|count| {
        bench.plane.apply(&scattered(count)).unwrap();
        let [add, delete] = medians(&mut bench.plane, &published(60_001, false));
        eprintln!("beside {count} ports: add {add:?}, delete {delete:?}");
        add.max(delete)
    });
    // A walk through 10,000 elements takes milliseconds in this build.
    assert!(plenty < few * 10 + Duration::from_micros(500), "{few:?}, {plenty:?}");
}

#[test]
#[ignore = "prints measurements; run with --release -- --ignored --nocapture"]
fn measured_changes() {
    let Some(mut bench) = Bench::shared() else { return };
    for others_have_lists in [false, true] {
        for count in [10, 1_000, 10_000] {
            bench.plane.apply(&many(count, others_have_lists)).unwrap();
            for with_list in [false, true] {
                let [add, delete] = medians(&mut bench.plane, &published(60_001, with_list));
                let begun = Instant::now();
                bench.plane.changed_by_others().unwrap();
                let look = begun.elapsed();
                println!(
                    "{count} ports (lists: {others_have_lists}), one more (list: {with_list}): \
                     add {add:?}, delete {delete:?}, changed_by_others {look:?}"
                );
            }
        }
    }
    for watched in [false, true] {
        let watch = watched.then(|| {
            let open = || RulesetWatch::open(TABLE).unwrap();
            let mut watch = bench.netns.run(open).unwrap();
            watch.disregard(bench.plane.port().unwrap()).unwrap();
            watch
        });
        bench.plane.apply(&nothing()).unwrap();
        let begun = Instant::now();
        bench.plane.apply(&scattered(10_000)).unwrap();
        let took = begun.elapsed();
        let [add, delete] = medians(&mut bench.plane, &published(60_001, false));
        println!("watched: {watched}: 10,000 ports {took:?}; one: add {add:?}, delete {delete:?}");
        drop(watch);
    }
}
