//! Real bridges, veth pairs and packets, in namespaces made for each test.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use wharf_host::link::Mac;

use super::*;
use crate::bridge::{ensure_bridge, remove_bridge};
use crate::host_view::HostView;
use crate::leftovers::{Leftover, Owner, leftovers, remove_leftover};
use crate::mode::GatewayMode;
use crate::network::{Network, NetworkRequest, Requested};
use crate::pool::AddressPools;

/// A busy machine may take its time; what has to be quick is in the tests named `timed_`.
const LIMIT: Duration = Duration::from_secs(10);
/// Far more than a packet takes here, and less than the second after which TCP and neighbour
/// discovery repeat a lost one.
const AT_ONCE: Duration = Duration::from_millis(900);

struct Host {
    netns: Netns,
    network: Network,
}

struct Container {
    netns: Netns,
    endpoint: Endpoint,
}

impl Host {
    fn with(request: NetworkRequest) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let netns = Netns::create().unwrap();
        let network = netns
            .run(|| {
                let pools = AddressPools::with_global_id([1, 2, 3, 4, 5]);
                let view = HostView::observe().unwrap();
                let network = request.resolve(&pools, &[], &view, "now").unwrap();
                ensure_bridge(&network).unwrap();
                network
            })
            .unwrap();
        Some(Self { netns, network })
    }

    fn dual() -> Option<Self> {
        Self::with(NetworkRequest { ipv6: true, ..NetworkRequest::named("net") })
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.run(work).unwrap()
    }

    fn container(&mut self, name: char) -> Container {
        let netns = Netns::create().unwrap();
        let id = name.to_string().repeat(64);
        let endpoint = self.network.attach(&id, 0, Requested::default()).unwrap();
        self.run(|| plug(&endpoint, &netns)).unwrap();
        Container { netns, endpoint }
    }

    fn links(&self) -> Links {
        Links::open_in(&self.netns).unwrap()
    }

    fn swallowed(&self) -> Vec<IpNet> {
        wharf_host::route::Routes::open_in(&self.netns).unwrap().swallowed().unwrap()
    }
}

impl Container {
    fn addresses(&self) -> Vec<IpAddr> {
        self.endpoint.addresses().map(|net| net.addr()).collect()
    }

    fn routes(&self) -> Vec<Route> {
        wharf_host::route::Routes::open_in(&self.netns).unwrap().list().unwrap()
    }

    fn mac(&self) -> Option<Mac> {
        Links::open_in(&self.netns).unwrap().find("eth0").unwrap().unwrap().mac
    }
}

fn is_root() -> bool {
    let root = Netns::create().is_ok();
    if !root {
        eprintln!("skipped: making network namespaces needs root");
    }
    root
}

/// Sends over TCP and UDP from one namespace to an address in another; the source each showed.
fn talk(from: &Netns, to: &Netns, address: IpAddr) -> [IpAddr; 2] {
    let any = SocketAddr::new(address, 0);
    let (tcp, udp) =
        to.run(|| (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())).unwrap();
    let tcp_address = tcp.local_addr().unwrap();
    let connected = from.run(|| TcpStream::connect_timeout(&tcp_address, LIMIT)).unwrap();
    let mut client = connected.unwrap_or_else(|e| panic!("connect to {tcp_address}: {e}"));
    client.write_all(b"over tcp").unwrap();
    drop(client);
    let (mut served, tcp_source) = tcp.accept().unwrap();
    let mut text = String::new();
    served.read_to_string(&mut text).unwrap();
    assert_eq!(text, "over tcp");

    let udp_address = udp.local_addr().unwrap();
    udp.set_read_timeout(Some(LIMIT)).unwrap();
    let unspecified = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    from.run(|| UdpSocket::bind(unspecified).unwrap().send_to(b"udp", udp_address).unwrap())
        .unwrap();
    let mut buffer = [0; 16];
    let (length, udp_source) = udp.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"udp");
    [tcp_source.ip(), udp_source.ip()]
}

#[test]
fn timed_the_first_packets_after_plugging_in_are_not_lost() {
    let Some(mut host) = Host::dual() else { return };
    for name in ['1', '2', '3'] {
        let container = host.container(name);
        for address in container.addresses() {
            let start = Instant::now();
            talk(&host.netns, &container.netns, address);
            assert!(start.elapsed() < AT_ONCE, "{address}: {:?}", start.elapsed());
        }
    }
}

#[test]
fn packets_pass_between_host_and_containers_in_both_families() {
    let Some(mut host) = Host::dual() else { return };
    let one = host.container('1');
    let two = host.container('2');
    let bridge: Vec<IpAddr> = host.network.bridge_addresses().iter().map(IpNet::addr).collect();
    for family in [0, 1] {
        let (from_one, from_two) = (one.addresses()[family], two.addresses()[family]);
        assert_eq!(talk(&one.netns, &two.netns, from_two), [from_one; 2]);
        assert_eq!(talk(&two.netns, &one.netns, from_one), [from_two; 2]);
        assert_eq!(talk(&host.netns, &one.netns, from_one), [bridge[family]; 2]);
        assert_eq!(talk(&two.netns, &host.netns, bridge[family]), [from_two; 2]);
    }
    assert_eq!(one.mac(), Some(one.endpoint.mac));
}

#[test]
fn timed_an_address_reused_by_another_container_is_reached_at_once() {
    let Some(mut host) = Host::dual() else { return };
    let first = host.container('1');
    let addresses = first.addresses();
    for address in &addresses {
        talk(&host.netns, &first.netns, *address);
    }
    host.run(|| unplug(&first.endpoint)).unwrap();
    host.network.detach(&first.endpoint.container);
    let second = Netns::create().unwrap();
    let (IpAddr::V4(ipv4), IpAddr::V6(ipv6)) = (addresses[0], addresses[1]) else { panic!() };
    let requested = Requested { ipv4: Some(ipv4), ipv6: Some(ipv6) };
    let endpoint = host.network.attach(&"2".repeat(64), 0, requested).unwrap();
    host.run(|| plug(&endpoint, &second)).unwrap();
    let start = Instant::now();
    for address in addresses {
        talk(&host.netns, &second, address);
    }
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

#[test]
fn a_container_has_a_default_route_unless_its_network_is_internal() {
    let Some(mut host) = Host::dual() else { return };
    let container = host.container('1');
    let mut defaults: Vec<IpAddr> =
        container.routes().iter().filter(|r| r.is_default()).filter_map(|r| r.gateway).collect();
    defaults.sort();
    let bridge: Vec<IpAddr> = host.network.bridge_addresses().iter().map(IpNet::addr).collect();
    assert_eq!(defaults, bridge);

    let request = NetworkRequest { internal: true, ..NetworkRequest::named("closed") };
    let mut host = Host::with(request).unwrap();
    let container = host.container('1');
    assert!(container.routes().iter().all(|route| route.gateway.is_none()));
    talk(&host.netns, &container.netns, container.addresses()[0]);
}

#[test]
fn an_ipv4_network_has_no_ipv6_but_loopback() {
    let Some(mut host) = Host::with(NetworkRequest::named("net")) else { return };
    let container = host.container('1');
    let of_family_6 = |netns: &Netns, name: &str| {
        let mut links = Links::open_in(netns).unwrap();
        let index = links.index(name).unwrap();
        let addresses = links.addresses(Some(index)).unwrap();
        addresses.iter().filter(|a| a.net.addr().is_ipv6()).count()
    };
    assert_eq!(of_family_6(&container.netns, "eth0"), 0);
    assert_eq!(of_family_6(&container.netns, "lo"), 1);
    assert_eq!(of_family_6(&host.netns, &host.network.bridge), 0);
    assert_eq!(of_family_6(&host.netns, &container.endpoint.host_veth), 0);
}

#[test]
fn an_isolated_network_does_not_reach_the_host() {
    let request = NetworkRequest {
        internal: true,
        ipv6: true,
        gateway_mode_ipv4: GatewayMode::Isolated,
        gateway_mode_ipv6: GatewayMode::Isolated,
        ..NetworkRequest::named("net")
    };
    let Some(mut host) = Host::with(request) else { return };
    let one = host.container('1');
    let two = host.container('2');
    for address in two.addresses() {
        talk(&one.netns, &two.netns, address);
    }
    let index = host.links().index(&host.network.bridge).unwrap();
    assert_eq!(host.links().addresses(Some(index)).unwrap(), []);
}

#[test]
fn advertisements_and_duplicate_detection_are_off_on_our_interfaces() {
    let Some(mut host) = Host::dual() else { return };
    let container = host.container('1');
    let values = |interface: &str| {
        ["accept_ra", "accept_dad", "disable_ipv6"]
            .map(|name| sysctl::get(&format!("net/ipv6/conf/{interface}/{name}")).unwrap())
    };
    assert_eq!(host.run(|| values(&host.network.bridge)), ["0", "0", "0"]);
    assert_eq!(container.netns.run(|| values("eth0")).unwrap(), ["0", "0", "0"]);
}

#[test]
fn ensuring_a_bridge_again_changes_nothing_and_mends_what_was_damaged() {
    let Some(mut host) = Host::dual() else { return };
    let container = host.container('1');
    let name = host.network.bridge.clone();
    let before = host.links().find(&name).unwrap().unwrap();
    assert_eq!(host.run(|| ensure_bridge(&host.network)).unwrap(), before.index);
    assert_eq!(host.links().find(&name).unwrap().unwrap(), before);

    host.links().set_down(&name).unwrap();
    host.run(|| sysctl::set(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")).unwrap();
    host.run(|| ensure_bridge(&host.network)).unwrap();
    assert!(host.links().settle(&name).unwrap());
    for address in container.addresses() {
        talk(&host.netns, &container.netns, address);
    }
}

#[test]
fn a_lost_bridge_comes_back_and_its_containers_rejoin_it() {
    let Some(mut host) = Host::dual() else { return };
    let container = host.container('1');
    assert!(host.run(|| is_plugged(&container.endpoint)).unwrap());
    host.links().delete(&host.network.bridge).unwrap();
    assert!(!host.run(|| is_plugged(&container.endpoint)).unwrap());
    let error = host.run(|| rejoin(&container.endpoint)).unwrap_err();
    assert!(matches!(error, Error::BridgeMissing { .. }), "{error}");

    // Whoever sends something there hears nothing, and tries again.
    assert_eq!(host.swallowed().len(), 2);
    host.run(|| ensure_bridge(&host.network)).unwrap();
    assert!(!host.run(|| is_plugged(&container.endpoint)).unwrap());
    assert!(host.run(|| rejoin(&container.endpoint)).unwrap());
    assert!(host.run(|| is_plugged(&container.endpoint)).unwrap());
    for address in container.addresses() {
        talk(&host.netns, &container.netns, address);
    }
    host.run(|| unplug(&container.endpoint)).unwrap();
    assert!(!host.run(|| rejoin(&container.endpoint)).unwrap());
}

#[test]
fn an_interface_of_someone_else_is_left_alone() {
    let Some(host) = Host::dual() else { return };
    let other = Host::dual().unwrap();
    let mut theirs = host.network.clone();
    theirs.id = other.network.id.clone();
    let error = host.run(|| ensure_bridge(&theirs)).unwrap_err();
    assert!(matches!(error, Error::ForeignLink { .. }), "{error}");
    assert!(matches!(host.run(|| remove_bridge(&theirs)), Err(Error::ForeignLink { .. })));
    theirs.bridge = "lo".to_owned();
    assert!(matches!(host.run(|| ensure_bridge(&theirs)), Err(Error::ForeignLink { .. })));
    assert!(host.links().find(&host.network.bridge).unwrap().is_some());
}

#[test]
fn unplugging_and_removing_can_be_repeated() {
    let Some(mut host) = Host::dual() else { return };
    let container = host.container('1');
    assert!(host.run(|| unplug(&container.endpoint)).unwrap());
    assert!(!host.run(|| unplug(&container.endpoint)).unwrap());
    assert_eq!(Links::open_in(&container.netns).unwrap().find("eth0").unwrap(), None);
    assert_eq!(host.swallowed().len(), 2);
    assert!(host.run(|| remove_bridge(&host.network)).unwrap());
    assert!(!host.run(|| remove_bridge(&host.network)).unwrap());
    assert_eq!(host.swallowed(), []);
    let error = host.run(|| plug(&container.endpoint, &container.netns)).unwrap_err();
    assert!(matches!(error, Error::BridgeMissing { .. }), "{error}");
}

#[test]
fn a_pair_left_over_is_replaced_and_a_failed_plug_leaves_nothing() {
    let Some(mut host) = Host::dual() else { return };
    let mut container = host.container('1');
    // The container starts again in a new namespace while the old one still lives.
    let again = Netns::create().unwrap();
    host.run(|| plug(&container.endpoint, &again)).unwrap();
    talk(&host.netns, &again, container.addresses()[0]);

    // Something else in the container has the interface's name.
    let occupied = Netns::create().unwrap();
    Links::open_in(&occupied).unwrap().add_bridge("eth0", None, None).unwrap();
    assert!(host.run(|| plug(&container.endpoint, &occupied)).is_err());
    assert_eq!(host.links().find(&container.endpoint.host_veth).unwrap(), None);

    // A gateway that cannot be reached fails late, when the pair is there already.
    container.endpoint.gateway4 = Some("192.0.2.1".parse().unwrap());
    let text = host.run(|| plug(&container.endpoint, &again)).unwrap_err().to_string();
    assert!(text.starts_with("add route 0.0.0.0/0 via 192.0.2.1"), "{text}");
    assert_eq!(host.links().find(&container.endpoint.host_veth).unwrap(), None);
    assert_eq!(Links::open_in(&again).unwrap().find("eth0").unwrap(), None);
}

#[test]
fn a_container_whose_namespace_ended_is_unplugged_already() {
    let Some(mut host) = Host::dual() else { return };
    let Container { netns, endpoint } = host.container('1');
    drop(netns);
    // The kernel clears namespaces away from a work queue.
    let start = Instant::now();
    while host.links().find(&endpoint.host_veth).unwrap().is_some() {
        assert!(start.elapsed() < Duration::from_secs(60), "the veth outlived its namespace");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!host.run(|| unplug(&endpoint)).unwrap());
}

#[test]
fn ipv6_switched_off_for_new_interfaces_is_switched_on_for_ours() {
    let Some(mut host) = Host::dual() else { return };
    let off = || sysctl::set("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    host.run(|| {
        remove_bridge(&host.network).unwrap();
        off();
        ensure_bridge(&host.network).unwrap();
    });
    let netns = Netns::create().unwrap();
    netns.run(off).unwrap();
    let endpoint = host.network.attach("c", 0, Requested::default()).unwrap();
    host.run(|| plug(&endpoint, &netns)).unwrap();
    for net in endpoint.addresses() {
        talk(&host.netns, &netns, net.addr());
    }
}

#[test]
fn leftovers_tell_whose_they_were_and_can_be_removed() {
    let Some(mut host) = Host::dual() else { return };
    let container = host.container('1');
    host.links().add_bridge("someone-elses", None, None).unwrap();
    let mut found = host.run(leftovers).unwrap();
    found.sort_by(|a, b| a.link.cmp(&b.link));
    let expected = [
        Leftover {
            link: host.network.bridge.clone(),
            owner: Owner::Network(host.network.id.clone()),
        },
        Leftover {
            link: container.endpoint.host_veth.clone(),
            owner: Owner::Container(container.endpoint.container.clone()),
        },
    ];
    assert_eq!(found, expected);
    for leftover in &found {
        assert!(host.run(|| remove_leftover(leftover)).unwrap());
        assert!(!host.run(|| remove_leftover(leftover)).unwrap());
    }
    assert_eq!(host.run(leftovers).unwrap(), []);
    assert!(host.links().find("someone-elses").unwrap().is_some());
}

#[test]
fn the_view_of_the_host_names_what_is_taken_and_leaves_our_bridges_out() {
    let Some(host) = Host::dual() else { return };
    let mut links = host.links();
    links.add_bridge("uplink", None, None).unwrap();
    links.set_up("uplink").unwrap();
    let index = links.index("uplink").unwrap();
    links.add_address(index, "10.77.0.5/16".parse().unwrap()).unwrap();
    let mut routes = wharf_host::route::Routes::open_in(&host.netns).unwrap();
    let gateway: IpAddr = "10.77.0.1".parse().unwrap();
    routes.add(&Route::default_via(gateway, index)).unwrap();
    let vpn =
        Route { destination: "10.0.0.0/8".parse().unwrap(), ..Route::default_via(gateway, index) };
    routes.add(&vpn).unwrap();

    let view = host.run(HostView::observe).unwrap();
    assert!(view.ipv6);
    let obstacle = view.obstacle("10.77.3.0/24".parse().unwrap()).unwrap();
    assert_eq!(obstacle.holder, "address 10.77.0.5/16 of uplink");
    assert_eq!(view.obstacle("10.78.0.0/16".parse().unwrap()), None);
    assert!(view.nets().any(|net| net == vpn.destination));
    assert!(view.nets().all(|net| net.prefix_len() > 0));
    for own in host.network.subnets() {
        assert_eq!(view.obstacle(own.subnet()), None);
    }
}

#[test]
fn fifty_containers_can_be_plugged_in_at_once() {
    let Some(mut host) = Host::dual() else { return };
    let wanted: Vec<(Endpoint, Netns)> = (0..50)
        .map(|number| {
            let id = format!("{number:064x}").chars().rev().collect::<String>();
            let endpoint = host.network.attach(&id, 0, Requested::default()).unwrap();
            (endpoint, Netns::create().unwrap())
        })
        .collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (endpoint, netns) in &wanted {
            let host = &host;
            scope.spawn(move || host.run(|| plug(endpoint, netns)).unwrap());
        }
    });
    eprintln!("50 containers plugged in within {:?}", start.elapsed());
    for (endpoint, netns) in &wanted {
        for net in endpoint.addresses() {
            talk(&host.netns, netns, net.addr());
        }
    }
    let alone = Netns::create().unwrap();
    let endpoint = host.network.attach(&"e".repeat(64), 0, Requested::default()).unwrap();
    host.run(|| {
        let start = Instant::now();
        plug(&endpoint, &alone).unwrap();
        eprintln!("one more plugged in within {:?}", start.elapsed());
    });
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (endpoint, _) in &wanted {
            let host = &host;
            scope.spawn(move || assert!(host.run(|| unplug(endpoint)).unwrap()));
        }
    });
    eprintln!("50 containers unplugged within {:?}", start.elapsed());
}
