use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn leases(subnet: &str) -> Leases {
    Leases::new(subnet.parse().unwrap(), None, None).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_first_address_is_the_gateway_and_containers_follow() {
    let mut v4 = leases("10.201.0.0/20");
    assert_eq!(v4.gateway(), ip("10.201.0.1"));
    assert_eq!(v4.lease(None, "a").unwrap(), ip("10.201.0.2"));
    assert_eq!(v4.lease(None, "b").unwrap(), ip("10.201.0.3"));
    let mut v6 = leases("fd00:1::/64");
    assert_eq!(v6.gateway(), ip("fd00:1::1"));
    assert_eq!(v6.lease(None, "a").unwrap(), ip("fd00:1::2"));
}

#[test]
fn who_holds_an_address_gets_it_again() {
    let mut leases = leases("10.0.0.0/24");
    let address = leases.lease(None, "a").unwrap();
    assert_eq!(leases.lease(None, "a").unwrap(), address);
    assert_eq!(leases.lease(Some(address), "a").unwrap(), address);
    let text = leases.lease(Some(ip("10.0.0.9")), "a").unwrap_err().to_string();
    assert_eq!(text, "a has 10.0.0.2 already and cannot have 10.0.0.9 as well");
    assert_eq!(leases.count(), 1);
}

#[test]
fn a_requested_address_is_checked() {
    let mut leases = leases("10.0.0.0/24");
    leases.lease(Some(ip("10.0.0.7")), "web").unwrap();
    let refused = [
        ("10.0.1.7", "does not belong to the network's subnet 10.0.0.0/24"),
        ("fd00::7", "does not belong"),
        ("10.0.0.0", "it is the network address of"),
        ("10.0.0.1", "it is the gateway of"),
        ("10.0.0.255", "it is the broadcast address of"),
        ("10.0.0.7", "address already in use: 10.0.0.7 is held by web"),
    ];
    for (address, why) in refused {
        let text = leases.lease(Some(ip(address)), "db").unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn a_full_subnet_says_so_and_has_room_again_after_a_release() {
    let mut leases = leases("10.0.0.0/29");
    for owner in ["a", "b", "c", "d", "e"] {
        leases.lease(None, owner).unwrap();
    }
    let text = leases.lease(None, "f").unwrap_err().to_string();
    assert!(text.starts_with("no available addresses in 10.0.0.0/29: all 5 are held"), "{text}");
    assert_eq!(leases.release("c"), Some(ip("10.0.0.4")));
    assert_eq!(leases.release("c"), None);
    assert_eq!(leases.lease(None, "f").unwrap(), ip("10.0.0.4"));
}

#[test]
fn an_address_given_back_rests() {
    let mut leases = leases("10.0.0.0/24");
    let first = leases.lease(None, "a").unwrap();
    leases.release("a");
    assert_ne!(leases.lease(None, "b").unwrap(), first);
    // Also when it was asked for by number and would be next in turn.
    let asked = ip("10.0.0.4");
    leases.lease(Some(asked), "c").unwrap();
    leases.release("c");
    assert_eq!(leases.lease(None, "d").unwrap(), ip("10.0.0.5"));
}

#[test]
fn a_range_limits_what_is_handed_out_but_not_what_can_be_asked_for() {
    let subnet = "10.0.0.0/24".parse().unwrap();
    let range = "10.0.0.128/30".parse().unwrap();
    let mut leases = Leases::new(subnet, None, Some(range)).unwrap();
    let given: Vec<IpAddr> =
        ["a", "b", "c", "d"].map(|owner| leases.lease(None, owner).unwrap()).into();
    assert_eq!(given, ["10.0.0.128", "10.0.0.129", "10.0.0.130", "10.0.0.131"].map(ip));
    assert!(matches!(leases.lease(None, "e"), Err(Error::SubnetFull { .. })));
    leases.lease(Some(ip("10.0.0.5")), "e").unwrap();
}

#[test]
fn impossible_subnets_are_refused() {
    let new = |subnet: &str, gateway: Option<&str>| {
        Leases::new(subnet.parse().unwrap(), gateway.map(ip), None).unwrap_err().to_string()
    };
    assert_eq!(new("10.0.0.5/24", None), "invalid subnet 10.0.0.5/24: it should be 10.0.0.0/24");
    assert!(new("10.0.0.0/31", None).contains("no room"));
    assert!(new("fd00::/127", None).contains("no room"));
    assert!(new("10.0.0.0/24", Some("10.0.1.1")).contains("does not belong"));
    assert!(new("10.0.0.0/24", Some("10.0.0.255")).contains("broadcast address"));
}

#[derive(Debug, Clone)]
enum Step {
    Lease(u8),
    Ask(u8, u8),
    Release(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<u8>().prop_map(|owner| Step::Lease(owner % 20)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(owner, low)| Step::Ask(owner % 20, low % 20)),
        2 => any::<u8>().prop_map(|owner| Step::Release(owner % 20)),
    ];
    proptest::collection::vec(step, 0..200)
}

/// Takes one step; the result is the address newly handed out, if one was.
fn take(leases: &mut Leases, step: &Step) -> Option<IpAddr> {
    match step {
        Step::Lease(owner) => leases.lease(None, &owner.to_string()).ok(),
        Step::Ask(owner, low) => {
            let first = Span::of(leases.subnet).first;
            let address = span::address(leases.subnet.addr().is_ipv6(), first + u128::from(*low));
            leases.lease(Some(address), &owner.to_string()).ok()
        }
        Step::Release(owner) => {
            leases.release(&owner.to_string());
            None
        }
    }
}

proptest! {
    #[test]
    fn no_address_is_held_twice_and_none_that_means_something(
        subnet in prop_oneof![Just("10.0.0.0/28"), Just("fd00::/124"), Just("fd00::/64")],
        steps in steps(),
    ) {
        let mut leases = leases(subnet);
        let span = Span::of(leases.subnet);
        for step in &steps {
            take(&mut leases, step);
            let owners: BTreeSet<&str> = leases.held().map(|(_, owner)| owner).collect();
            prop_assert_eq!(owners.len(), leases.count());
            for (address, _) in leases.held() {
                prop_assert!(leases.subnet.contains(&address));
                prop_assert_ne!(address, leases.gateway);
                prop_assert_ne!(span::number(address), span.first);
                prop_assert!(span.v6 || span::number(address) != span.last);
            }
        }
    }

    #[test]
    fn an_address_just_released_is_not_next_unless_it_is_the_last(steps in steps()) {
        let mut leases = leases("10.0.0.0/28");
        for step in &steps {
            let before = leases.clone();
            take(&mut leases, step);
            let Step::Release(owner) = step else { continue };
            let Some(released) = before.address_of(&owner.to_string()) else { continue };
            let next = leases.clone().lease(None, "someone new").unwrap();
            prop_assert!(next != released || leases.count() == 12);
        }
    }

    #[test]
    fn a_lease_fails_only_when_the_subnet_is_full(steps in steps()) {
        let mut leases = leases("10.0.0.0/28");
        for step in &steps {
            take(&mut leases, step);
            let room = leases.clone().lease(None, "someone new").is_ok();
            prop_assert_eq!(room, leases.count() < 13);
        }
    }

    #[test]
    fn stored_leases_go_on_where_they_were(steps in steps()) {
        let mut leases = leases("fd00::/64");
        for step in &steps {
            take(&mut leases, step);
        }
        let stored = serde_json::to_string(&leases).unwrap();
        let mut read: Leases = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&read, &leases);
        prop_assert_eq!(read.lease(None, "x").unwrap(), leases.lease(None, "x").unwrap());
    }
}
