//! What publishing has to reach, and whether it did.

use super::Found;
use super::change::{Beside, Change, ends};
use super::many::{Case, Many};
use crate::bench::engine::Kind;
use crate::bench::first::First;
use crate::bench::verdict::Requirement;

/// Milliseconds that 99 of 100 calls over the API may take at most.
const CALL: f64 = 20.0;
/// How many times as long they may take beside many others as beside few.
const GROWTH: f64 = 2.0;
/// Milliseconds between two answers of a flow beside. One lost packet costs 200, the shortest time
/// after which TCP sends again.
const GAP: f64 = 100.0;
/// How many times faster scattered ports are to be there and gone than by anybody else.
const FASTER: f64 = 50.0;
/// What a first packet may take of the time it takes with a single port, where nothing grows.
const FLAT: f64 = 1.25;

/// Everything that can be judged from what was measured.
pub(crate) fn judge(found: &Found) -> Vec<Requirement> {
    let mut judged: Vec<Requirement> = found.changes.iter().flat_map(quick).collect();
    judged.extend(ends(&found.changes).into_iter().flat_map(|(few, many)| level(few, many)));
    judged.extend(found.changes.iter().flat_map(undisturbed));
    judged.extend(ahead(&found.many, Case::Scattered, Kind::Docker, FASTER));
    judged.extend(ahead(&found.many, Case::Scattered, Kind::Podman, FASTER));
    judged.extend(ahead(&found.many, Case::Range, Kind::Podman, 1.0));
    judged.extend(found.first.iter().filter_map(flat));
    judged
}

fn quick(change: &Change) -> impl Iterator<Item = Requirement> {
    let others = change.others;
    [("publish", &change.api.publish), ("unpublish", &change.api.unpublish)].into_iter().map(
        move |(verb, times)| {
            let p99 = times.tail().p99;
            let text = format!(
                "{verb} beside {others} ports: 99 % take {p99:.1} ms at most, below {CALL:.0} ms"
            );
            Requirement { text, met: p99 < CALL }
        },
    )
}

fn level(few: &Change, many: &Change) -> Vec<Requirement> {
    let pairs = [
        ("publish", &few.api.publish, &many.api.publish),
        ("unpublish", &few.api.unpublish, &many.api.unpublish),
    ];
    let judged = pairs.into_iter().map(|(verb, small, large)| {
        let times = large.tail().p99 / small.tail().p99;
        let text = format!(
            "{verb}: {times:.2} times as long beside {} ports as beside {}, at most {GROWTH:.0}",
            many.others, few.others
        );
        Requirement { text, met: times <= GROWTH }
    });
    judged.collect()
}

fn undisturbed(change: &Change) -> impl Iterator<Item = Requirement> {
    let others = change.others;
    change.flows.iter().map(move |Beside { plane, changing, quiet }| {
        let (gap, without) = (changing.gap, quiet.gap);
        let text = format!(
            "a flow by {plane} beside {others} ports: no gap longer than {gap:.1} ms, below \
             {GAP:.0} ms (while nothing changes {without:.1} ms)"
        );
        Requirement { text, met: gap < GAP }
    })
}

fn ahead(all: &[Many], case: Case, peer: Kind, least: f64) -> Option<Requirement> {
    let of = |kind| all.iter().find(|many| many.case == case && many.kind == kind);
    let times = of(peer)?.both() / of(Kind::Ours)?.both();
    let (what, name) = (case.name(), peer.name());
    let text = format!("{what}: {times:.1} times faster than {name}, at least {least:.0}");
    Some(Requirement { text, met: times >= least })
}

fn flat(first: &First) -> Option<Requirement> {
    let ratio = first.ratio?.median;
    let text = format!(
        "first packet with {}: {ratio:.2} times as long as with one port, at most {FLAT}",
        first.case.name()
    );
    Some(Requirement { text, met: ratio <= FLAT })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::publish::change::Seen;

    fn met(found: &Found) -> Vec<bool> {
        judge(found).into_iter().map(|requirement| requirement.met).collect()
    }

    fn change(others: usize, milliseconds: f64) -> Change {
        let mut change = Change { others, ..Change::default() };
        change.api.publish.extend(&[milliseconds; 100]);
        change.api.unpublish.extend(&[milliseconds; 100]);
        change
    }

    #[test]
    fn calls_are_quick_and_level() {
        let found = |few, many| {
            let changes = vec![change(10, few), change(10_000, many)];
            met(&Found { changes, ..Found::default() })
        };
        assert_eq!(found(5.0, 9.0), [true; 6]);
        assert_eq!(found(5.0, 11.0), [true, true, true, true, false, false]);
        assert_eq!(found(15.0, 21.0), [true, true, false, false, true, true]);
    }

    #[test]
    fn a_flow_has_no_long_gap() {
        let mut one = change(10, 1.0);
        let seen = |gap| Seen { gap, ..Seen::default() };
        one.flows = vec![Beside { plane: "nft", changing: seen(200.0), quiet: seen(3.0) }];
        let judged = met(&Found { changes: vec![one], ..Found::default() });
        assert_eq!(judged, [true, true, false]);
    }

    #[test]
    fn others_take_fifty_times_as_long_on_scattered_ports() {
        let many = |docker, podman, range| {
            let many = vec![
                Many::of(Case::Scattered, Kind::Ours, 1.0),
                Many::of(Case::Scattered, Kind::Docker, docker),
                Many::of(Case::Scattered, Kind::Podman, podman),
                Many::of(Case::Range, Kind::Ours, 1.0),
                Many::of(Case::Range, Kind::Podman, range),
            ];
            met(&Found { many, ..Found::default() })
        };
        assert_eq!(many(80.0, 49.0, 1.1), [true, false, true]);
        assert_eq!(many(49.0, 80.0, 0.9), [false, true, false]);
    }
}
