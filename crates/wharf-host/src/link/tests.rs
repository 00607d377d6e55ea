use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use super::*;
use crate::route::Route;

fn host() -> Option<Netns> {
    if rustix::process::geteuid().is_root() {
        return Some(Netns::create().unwrap());
    }
    eprintln!("skipped: making network namespaces needs root");
    None
}

#[test]
fn a_bridge_is_made_described_and_deleted() {
    let Some(netns) = host() else { return };
    let mut links = Links::open_in(&netns).unwrap();
    let mac = Mac::local([1, 2, 3, 4]);
    links.add_bridge("br", Some(mac), Some(1400)).unwrap();
    assert!(links.add_bridge("br", None, None).unwrap_err().is_exists());
    links.set_alias("br", "wharf:test").unwrap();
    links.set_up("br").unwrap();
    let found = links.find("br").unwrap().unwrap();
    let expected = Link {
        index: found.index,
        name: "br".to_owned(),
        kind: Some("bridge".to_owned()),
        mac: Some(mac),
        up: true,
        running: false,
        forwarding: None,
        master: None,
        mtu: 1400,
        alias: Some("wharf:test".to_owned()),
        alternative_names: Vec::new(),
    };
    assert_eq!(found, expected);
    assert!(links.list().unwrap().contains(&found));
    links.set_down("br").unwrap();
    assert!(!links.find("br").unwrap().unwrap().up);
    assert!(links.delete("br").unwrap());
    assert!(!links.delete("br").unwrap());
    assert_eq!(links.find("br").unwrap(), None);
    assert!(links.index("br").unwrap_err().is_not_found());
    assert!(!links.settle("br").unwrap());
}

#[test]
fn addresses_are_added_once_and_listed_by_link() {
    let Some(netns) = host() else { return };
    let mut links = Links::open_in(&netns).unwrap();
    links.add_bridge("br", None, None).unwrap();
    let link = links.index("br").unwrap();
    for net in ["10.9.0.1/24", "fd00:9::1/64"] {
        let net: IpNet = net.parse().unwrap();
        links.add_address(link, net).unwrap();
        links.add_address(link, net).unwrap();
        let same = |a: &&Address| a.net == net;
        assert_eq!(links.addresses(Some(link)).unwrap().iter().filter(same).count(), 1);
    }
    let everywhere = links.addresses(None).unwrap();
    assert!(everywhere.iter().any(|a| a.net == "127.0.0.1/8".parse().unwrap()));
}

#[test]
fn timed_a_veth_pair_joins_two_namespaces_at_once() {
    let (Some(here), Some(there)) = (host(), host()) else { return };
    let mut links = Links::open_in(&here).unwrap();
    links.add_bridge("br", None, None).unwrap();
    let bridge = links.index("br").unwrap();
    let peer_mac = Mac::local([9, 9, 9, 9]);
    let veth = Veth {
        name: "near",
        peer_name: "far",
        peer_netns: &there,
        peer_mac: Some(peer_mac),
        mtu: Some(1300),
        master: Some(bridge),
    };
    links
        .apply(&[
            Change::AddVeth(veth),
            Change::NoLinkLocal("near"),
            Change::Up("near"),
            Change::Up("br"),
            Change::Address { link: bridge, net: "10.9.0.1/24".parse().unwrap() },
        ])
        .unwrap();
    let near = links.find("near").unwrap().unwrap();
    assert_eq!((near.master, near.mtu, near.kind.as_deref()), (Some(bridge), 1300, Some("veth")));
    assert_eq!(links.addresses(Some(near.index)).unwrap(), []);

    let mut far_links = Links::open_in(&there).unwrap();
    let far = far_links.find("far").unwrap().unwrap();
    assert_eq!((far.mac, far.mtu), (Some(peer_mac), 1300));
    far_links
        .apply(&[
            Change::Up("far"),
            Change::Address { link: far.index, net: "10.9.0.2/24".parse().unwrap() },
            Change::Route(Route::default_via("10.9.0.1".parse().unwrap(), far.index)),
        ])
        .unwrap();

    assert!(far_links.settle("far").unwrap());
    assert!(links.settle("near").unwrap());
    assert!(links.settle("br").unwrap());
    assert_eq!(links.find("near").unwrap().unwrap().forwarding, Some(true));

    let before = Instant::now();
    let listener = there.run(|| TcpListener::bind("10.9.0.2:80").unwrap()).unwrap();
    let mut client = here.run(|| TcpStream::connect("10.9.0.2:80").unwrap()).unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    // Shorter than the second after which TCP repeats a lost first packet.
    assert!(before.elapsed() < Duration::from_millis(900), "{:?}", before.elapsed());
}

#[test]
fn a_refused_change_is_named_in_the_error() {
    let Some(netns) = host() else { return };
    let mut links = Links::open_in(&netns).unwrap();
    let changes = [Change::Up("lo"), Change::Up("missing"), Change::Up("also-missing")];
    let error = links.apply(&changes).unwrap_err();
    assert!(error.to_string().starts_with("set missing up: "), "{error}");
    // The socket is in order afterwards.
    assert!(links.find("lo").unwrap().is_some());
    links.apply(&[Change::Up("lo")]).unwrap();
}

#[test]
fn a_namespace_lends_its_descriptor() {
    let Some(netns) = host() else { return };
    assert!(rustix::io::fcntl_getfd(netns.as_fd()).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
}
