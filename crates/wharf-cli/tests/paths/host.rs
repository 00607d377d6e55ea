//! Addresses of the host that nobody would think of first: gateways and link-local ones.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use wharf_host::link::Links;
use wharf_lab::Host;

use super::scene::{Scene, ask};

#[test]
fn gateway_addresses_are_addresses_of_the_host() {
    let Some(scene) = Scene::new("gateways") else { return };
    scene.wharf.ok(["network", "create", "--ipv6", "elsewhere"]);
    scene.whoami("target", ["-p", "8080:80", "-p", "8080:80/udp"]);
    scene.whoami("neighbour", []);
    scene.whoami("stranger", ["--network", "elsewhere"]);
    for (gateway, own) in [("Gateway", "IPAddress"), ("IPv6Gateway", "GlobalIPv6Address")] {
        let of_target = scene.address("target", gateway);
        for (name, seen) in [
            ("target", of_target),
            ("neighbour", of_target),
            ("stranger", scene.address("stranger", own)),
        ] {
            let client = scene.wharf.container(name).unwrap();
            for network_of in ["target", "stranger"] {
                for proto in ["tcp", "udp"] {
                    let to = SocketAddr::new(scene.address(network_of, gateway), 8080);
                    let told = ask(&client, proto, to).map(|told| told.source);
                    assert_eq!(told.ok(), Some(seen), "{name} {proto} {to}");
                }
            }
        }
    }
}

#[test]
fn a_link_local_address_of_the_host_is_served() {
    let Some(scene) = Scene::new("link-local") else { return };
    scene.whoami("target", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let link = |host: &Host| Links::open_in(host.netns()).unwrap().index("eth0").unwrap();
    let index = link(&scene.host);
    let of_host = Links::open_in(scene.host.netns()).unwrap().addresses(Some(index)).unwrap();
    let own = of_host.iter().find(|it| it.net.to_string().starts_with("fe80:")).unwrap();
    let IpAddr::V6(own) = own.net.addr() else { panic!("{own:?}") };
    let gateway = scene.address("target", "IPv6Gateway");
    for proto in ["tcp", "udp"] {
        let to = SocketAddrV6::new(own, 8080, 0, link(&scene.remote));
        let told = ask(&scene.remote, proto, to.into()).unwrap();
        assert_eq!((told.hostname.as_str(), told.source), ("target", gateway), "{proto}");
    }
}
