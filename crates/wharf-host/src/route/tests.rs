use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::link::Links;

fn host() -> Option<Netns> {
    if rustix::process::geteuid().is_root() {
        return Some(Netns::create().unwrap());
    }
    eprintln!("skipped: making network namespaces needs root");
    None
}

fn bridge_with_addresses(netns: &Netns) -> u32 {
    let mut links = Links::open_in(netns).unwrap();
    links.add_bridge("br", None, None).unwrap();
    links.set_up("br").unwrap();
    let index = links.index("br").unwrap();
    links.add_address(index, "10.9.0.1/24".parse().unwrap()).unwrap();
    links.add_address(index, "fd00:9::1/64".parse().unwrap()).unwrap();
    index
}

#[test]
fn routes_are_added_listed_and_deleted_in_both_families() {
    let Some(netns) = host() else { return };
    let link = bridge_with_addresses(&netns);
    let mut routes = Routes::open_in(&netns).unwrap();
    for gateway in ["10.9.0.2", "fd00:9::2"] {
        let gateway: IpAddr = gateway.parse().unwrap();
        let default = Route::default_via(gateway, link);
        routes.add(&default).unwrap();
        assert!(routes.add(&default).unwrap_err().is_exists());
        assert!(routes.list().unwrap().contains(&default));
        assert!(routes.delete(&default).unwrap());
        assert!(!routes.delete(&default).unwrap());
        assert!(!routes.list().unwrap().contains(&default));
    }
}

#[test]
fn the_list_has_subnets_on_the_link_and_tells_own_addresses_apart() {
    let Some(netns) = host() else { return };
    let link = bridge_with_addresses(&netns);
    let list = Routes::open_in(&netns).unwrap().list().unwrap();
    assert!(list.contains(&Route::on_link("10.9.0.0/24".parse().unwrap(), link)));
    assert!(
        list.iter().any(
            |r| r.destination == "fd00:9::/64".parse().unwrap() && r.kind == RouteKind::Unicast
        )
    );
    let own = list.iter().find(|r| r.destination == "10.9.0.1/32".parse().unwrap()).unwrap();
    assert_eq!((own.kind, own.table), (RouteKind::Local, LOCAL_TABLE));
}

#[test]
fn marked_packets_can_be_delivered_locally() {
    let Some(netns) = host() else { return };
    let loopback = Links::open_in(&netns).unwrap().index("lo").unwrap();
    let mut routes = Routes::open_in(&netns).unwrap();
    for family in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        let route = Route::everything_local(family, loopback, 1_000);
        routes.add(&route).unwrap();
        assert!(routes.list().unwrap().contains(&route), "{route}");
        let rule = Rule {
            ipv6: family.is_ipv6(),
            mark: 0x40,
            mask: 0xf0,
            own: false,
            udp_source_ports: None,
            table: 1_000,
            priority: Some(90),
        };
        let own = Rule { own: true, priority: Some(91), ..rule };
        let ports =
            Rule { mark: 0, mask: 0, udp_source_ports: Some((53, 54)), priority: Some(92), ..own };
        for rule in [rule, own, ports] {
            routes.add_rule(&rule).unwrap();
            assert!(routes.add_rule(&rule).unwrap_err().is_exists());
            assert_eq!(routes.rules().unwrap(), [rule]);
            assert!(routes.delete_rule(&rule).unwrap());
            assert!(!routes.delete_rule(&rule).unwrap());
            assert!(routes.rules().unwrap().is_empty());
        }
    }
}

#[test]
fn a_refused_route_is_named_in_the_error() {
    let Some(netns) = host() else { return };
    let route = Route::default_via("10.9.0.2".parse().unwrap(), 1);
    let text = Routes::open_in(&netns).unwrap().add(&route).unwrap_err().to_string();
    assert!(text.starts_with("add route 0.0.0.0/0 via 10.9.0.2"), "{text}");
}
