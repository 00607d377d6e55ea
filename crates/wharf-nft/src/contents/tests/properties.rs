//! Whatever is changed in whatever order, the result is what a plan of the sum would make.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

/// What one publication may come to. Its host port is its own: a socket is bound for it.
fn fragment(slot: u16) -> impl Strategy<Value = NftPlan> {
    let nets = subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "0.0.0.0/0"], 0..4);
    (0..3u8, 0..2u8, nets, 0..6u16, 0..6u16).prop_map(move |(kind, target, nets, first, more)| {
        let host = 8000 + 10 * slot;
        let range = ports(host, host + more);
        let mut plan = NftPlan::default();
        let aggregated =
            ipnet::IpNet::aggregate(&nets.iter().map(|n| n.parse().unwrap()).collect());
        match kind {
            0 => drop(plan.dnat.insert(Dnat {
                ports: range,
                target_ports: ports(
                    80 + u16::from(target) * first,
                    80 + u16::from(target) * first + more,
                ),
                ..entry(80, 80, ["10.0.0.2", "fd00::2"][usize::from(target)], 80)
            })),
            1 => drop(plan.loopback.insert(LoopbackGuard {
                proto: Proto::Udp,
                address: [127, 0, 0, 1].into(),
                ports: range,
            })),
            _ => {
                let id = format!("p{slot}");
                let port = open(&id, ports(80 + first, 80 + first + more), &nets);
                plan.open.insert(OpenPort { from: aggregated.clone(), ..port });
            }
        }
        if !nets.is_empty() {
            plan.allow.insert(AllowList { from: aggregated, ..allow("0.0.0.0/0", range, &[]) });
        }
        plan
    })
}

/// Publications by slot; `None` takes the one there away.
fn steps() -> impl Strategy<Value = Vec<(u16, Option<NftPlan>)>> {
    let step = (0..8u16).prop_flat_map(|slot| (Just(slot), proptest::option::of(fragment(slot))));
    prop::collection::vec(step, 1..40)
}

fn sum(slots: &BTreeMap<u16, NftPlan>) -> NftPlan {
    let mut sum = NftPlan::default();
    for plan in slots.values() {
        sum.dnat.extend(plan.dnat.iter().cloned());
        sum.loopback.extend(plan.loopback.iter().cloned());
        sum.open.extend(plan.open.iter().cloned());
        sum.allow.extend(plan.allow.iter().cloned());
    }
    sum
}

proptest! {
    #[test]
    fn any_sequence_of_changes_ends_where_the_sum_does(steps in steps()) {
        let (mut slots, mut contents) = (BTreeMap::new(), Contents::default());
        for (slot, next) in steps {
            let before = contents.clone();
            let removed = slots.remove(&slot).unwrap_or_default();
            let added = next.clone().unwrap_or_default();
            slots.extend(next.map(|next| (slot, next)));
            let delta = contents.delta(&removed, &added).unwrap();
            let whole = Contents::of(&sum(&slots)).unwrap();
            let announced = delta.changes.iter().map(|c| c.removed.len() + c.added.len());
            let needed = before.changes_to(&whole);
            let needed = needed.iter().map(|c| c.removed.len() + c.added.len());
            prop_assert_eq!(announced.sum::<usize>(), needed.sum::<usize>());
            contents.enact(&delta);
            prop_assert_eq!(&contents, &whole);
            let mut undone = contents.clone();
            undone.enact(&delta.reversed());
            prop_assert_eq!(undone, before);
        }
    }
}
