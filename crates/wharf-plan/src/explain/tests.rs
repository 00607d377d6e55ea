use wharf_spec::{HostSide, PortRange, Proto, Publication, PublicationId, PublishOptions, Target};

use super::*;
use crate::firewall::{Backend, Base, Chain, Hook, Policy, Ruleset, Table, TableFamily};
use crate::path::PathPlan;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn publication(options: &str) -> Publication {
    Publication {
        id: PublicationId("0123456789ab".into()),
        proto: Proto::Tcp,
        host: HostSide { addresses: vec![ip("0.0.0.0")], ports: PortRange::single(8080) },
        target: Target::Container {
            id: "c".into(),
            ipv4: Some([172, 30, 0, 2].into()),
            ipv6: None,
            network: "net".into(),
        },
        target_ports: PortRange::single(80),
        options: options.parse::<PublishOptions>().unwrap(),
    }
}

fn plan(path: Path, plane: Plane, source: SourceSeen) -> PathPlan {
    PathPlan { path, plane, source, reason: None }
}

fn through_the_kernel() -> PathPlan {
    plan(Path::ExternalV4, Plane::Nft, SourceSeen::Client)
}

fn through_the_relay() -> PathPlan {
    plan(Path::ExternalV4, Plane::Relay, SourceSeen::Client)
}

fn interface(name: &str) -> Interface {
    Interface { name: name.into(), up: true, running: true }
}

fn socket(address: &str, port: u16, ours: bool) -> Socket {
    let process = Some((42, "httpd".to_owned()));
    Socket { address: ip(address), port, dual: true, inode: 7, process, ours }
}

fn inside(addresses: &[&str]) -> Listening {
    let sockets = addresses.iter().map(|address| socket(address, 80, false)).collect();
    Listening::Inside(Inside { sockets, others: vec![8080] })
}

/// Everything as it should be.
fn served<'a>(publication: &'a Publication, plan: &'a PathPlan) -> Served<'a> {
    let sets = vec!["ports4".to_owned()];
    Served {
        publication,
        name: "web",
        plan: Some(plan),
        suspended: None,
        lost: None,
        relay: Relay { pid: Some(4242), state: RelayState::Alive, open: 1, total: 9, refused: 0 },
        kernel: Kernel { sets, ..Kernel::default() },
        led: Led { open: 2, total: 7, ..Led::default() },
        forwarding: vec![Setting { name: "net.ipv4.ip_forward".into(), on: true }],
        bridge: Some(Bridge {
            name: "wharf0".into(),
            interface: Some(interface("wharf0")),
            gateway: Some(ip("172.30.0.1")),
            has_gateway: true,
            ours: true,
        }),
        veth: Some(Veth {
            name: "veth1".into(),
            interface: Some(interface("veth1")),
            on_bridge: true,
        }),
        target: TargetState::There("container web, process 5, has 172.30.0.2".into()),
        listening: inside(&["0.0.0.0"]),
        answers: Answers {
            next_hop: Some(ip("172.30.0.1")),
            reachable: Some(true),
            way_back: Some(true),
        },
    }
}

fn facts<'a>(matter: Matter<'a>, firewall: &'a Ruleset) -> Facts<'a> {
    Facts {
        question: Question {
            proto: Proto::Tcp,
            address: ip("10.1.0.2"),
            port: 8080,
            origin: Origin::Address(ip("10.1.0.1")),
        },
        arrival: Arrival {
            interface: Some(interface("eth0")),
            client: Some(ip("10.1.0.1")),
            gateway: None,
            reachable: Some(true),
        },
        owner: Some("eth0".into()),
        sockets: vec![socket("0.0.0.0", 8080, true)],
        firewall,
        matter,
    }
}

/// What is told after `change` was made to a way that works.
fn told(options: &str, plan: &PathPlan, change: impl FnOnce(&mut Served<'_>)) -> String {
    let publication = publication(options);
    let mut served = served(&publication, plan);
    change(&mut served);
    let nobody = Ruleset::default();
    verdict(&explain(&facts(Matter::Served(Box::new(served)), &nobody)))
}

/// The first hop that fails and what is said and advised there; else what is not known.
fn verdict(way: &Way) -> String {
    let say = |hop: &Hop| format!("{:?}: {} -> {}", hop.place, hop.text, hop.remedy.join(", "));
    let unknown = || way.hops.iter().find(|hop| hop.status == Status::Unknown);
    match (way.obstacle(), unknown()) {
        (Some(hop), _) => say(hop),
        (None, Some(hop)) => format!("unknown {}", say(hop)),
        (None, None) => "works".to_owned(),
    }
}

/// Whether what is told names this hop, says these words and gives this advice.
#[track_caller]
fn names(told: &str, hop: &str, words: &str, advice: &str) {
    let (seen, advised) = told.split_once(" -> ").unwrap_or((told, ""));
    assert!(seen.starts_with(hop), "{hop}: {told}");
    assert!(seen.contains(words), "{words}: {told}");
    assert!(advised.contains(advice), "{advice}: {told}");
}

#[test]
fn the_hops_come_in_the_order_of_the_packet() {
    let publication = publication("");
    let places = |plan: &PathPlan| {
        let matter = Matter::Served(Box::new(served(&publication, plan)));
        let way = explain(&facts(matter, &Ruleset::default()));
        way.hops.iter().map(|hop| hop.place).collect::<Vec<_>>()
    };
    let first = [Place::Arrival, Place::Address, Place::Publication, Place::AllowList];
    let middle = [Place::Firewall, Place::Plane, Place::Rewriting];
    let cables = [Place::Bridge, Place::Veth];
    let last = [Place::Target, Place::Listening, Place::WayBack, Place::Source];
    let forwarded = [&first[..], &middle, &[Place::Forwarding], &cables, &last].concat();
    assert_eq!(places(&through_the_kernel()), forwarded);
    assert_eq!(places(&through_the_relay()), [&first[..], &middle, &cables, &last].concat());
}

#[test]
fn a_fault_is_at_its_hop() {
    type Fault = (&'static str, &'static str, &'static str, fn(&mut Served<'_>));
    let cases: [Fault; 11] = [
        ("Plane", "missing from set ports4", "wharf events", |it| {
            it.kernel.missing.push("the port is missing from set ports4".into());
        }),
        ("Forwarding", "passes nothing on", "sysctl -w net.ipv4.ip_forward=1", |it| {
            it.forwarding[0].on = false;
        }),
        ("Bridge", "wharf0 is gone", "wharf restart web", |it| {
            it.bridge.as_mut().unwrap().interface = None;
        }),
        ("Bridge", "wharf0 is down", "ip link set wharf0 up", |it| {
            it.bridge.as_mut().unwrap().interface.as_mut().unwrap().up = false;
        }),
        ("Bridge", "has lost its address 172.30.0.1", "wharf restart", |it| {
            it.bridge.as_mut().unwrap().has_gateway = false;
        }),
        ("Veth", "no port of the bridge", "wharf restart web", |it| {
            it.veth.as_mut().unwrap().on_bridge = false;
        }),
        ("Target", "docker has stopped it", "served again", |it| {
            it.suspended = Some("docker has stopped it".into());
        }),
        (
            "Listening",
            "nothing listens on 80/tcp in container web; something listens on 8080",
            "",
            |it| {
                it.listening = inside(&[]);
            },
        ),
        ("Listening", "loopback only (127.0.0.1:80)", "listen on 0.0.0.0", |it| {
            it.listening = inside(&["127.0.0.1"]);
        }),
        ("Listening", "at 172.30.9.2:80 only, not at 172.30.0.2:80", "", |it| {
            it.listening = inside(&["172.30.9.2"]);
        }),
        ("WayBack", "no route to 10.1.0.1", "default route", |it| {
            it.answers.reachable = Some(false);
        }),
    ];
    let nft = through_the_kernel();
    assert_eq!(told("", &nft, |_| {}), "works");
    for (hop, words, advice, change) in cases {
        names(&told("", &nft, change), hop, words, advice);
    }
}

#[test]
fn a_fault_of_the_relay_is_at_its_socket_or_process() {
    let relay = through_the_relay();
    assert_eq!(told("", &relay, |_| {}), "works");
    let stopped = told("", &relay, |it| it.relay.state = RelayState::Stopped);
    names(&stopped, "Plane", "process 4242, is stopped", "kill -CONT 4242");
    let gone = told("", &relay, |it| it.relay.state = RelayState::Gone);
    names(&gone, "Plane", "not running", "starts another");
    let lost = told("", &relay, |it| it.lost = Some("the port is taken".into()));
    names(&lost, "Plane", "the port is taken", "tried again");
    // Without the way back, the relay asks as the gateway after a while, unless it must not.
    let slow = told("", &relay, |it| it.answers.way_back = Some(false));
    names(&slow, "unknown WayBack", "as the gateway", "wharf events");
    let never = told("source=client", &relay, |it| it.answers.way_back = Some(false));
    names(&never, "WayBack", "are gone", "wharf events");
}

#[test]
fn the_socket_with_the_very_address_takes_the_packet() {
    let publication = publication("");
    let plan = plan(Path::HostLoopback, Plane::Relay, SourceSeen::Gateway);
    let nobody = Ruleset::default();
    let with = |sockets: Vec<Socket>| {
        let matter = Matter::Served(Box::new(served(&publication, &plan)));
        let mut facts = facts(matter, &nobody);
        facts.question.address = ip("127.0.0.1");
        facts.question.origin = Origin::Host;
        verdict(&explain(&Facts { sockets, ..facts }))
    };
    let (any, theirs) = (socket("::", 8080, true), socket("127.0.0.1", 8080, false));
    assert_eq!(with(vec![any.clone(), socket("10.1.0.2", 8080, false)]), "works");
    names(
        &with(vec![any, theirs]),
        "Plane",
        "httpd (process 42) listens at 127.0.0.1:8080, an address of its own",
        "stop process 42",
    );
    names(&with(vec![]), "Plane", "does not listen at 127.0.0.1:8080/tcp", "upgrade");
}

#[test]
fn a_process_of_the_host_is_led_straight_to_the_target() {
    let publication = publication("");
    let plan = plan(Path::HostLoopback, Plane::Ebpf, SourceSeen::Gateway);
    let nobody = Ruleset::default();
    let with = |sockets: Vec<Socket>, missing: &[&str]| {
        let mut served = served(&publication, &plan);
        served.led.missing = missing.iter().map(ToString::to_string).collect();
        let mut facts = facts(Matter::Served(Box::new(served)), &nobody);
        facts.question.address = ip("127.0.0.1");
        facts.question.origin = Origin::Host;
        explain(&Facts { sockets, ..facts })
    };
    let way = with(vec![socket("::", 8080, true)], &[]);
    assert_eq!(verdict(&way), "works");
    let hops: Vec<&str> = way.hops.iter().map(|hop| hop.text.as_str()).collect();
    assert!(hops.contains(&"ebpf: connect() is led to the target (2 open, 7 so far)"), "{hops:?}");
    assert!(!way.hops.iter().any(|hop| hop.place == Place::Forwarding), "{hops:?}");
    let theirs = with(vec![socket("127.0.0.1", 8080, false)], &[]);
    names(&verdict(&theirs), "Plane", "httpd (process 42) listens at 127.0.0.1:8080", "stop");
    let gone = with(vec![], &["a program is not attached"]);
    names(&verdict(&gone), "Plane", "a program is not attached", "wharf events");
}

#[test]
fn a_list_knows_its_clients() {
    let nft = through_the_kernel();
    assert_eq!(told("allow=10.1.0.0/24", &nft, |_| {}), "works");
    let told = told("allow=192.0.2.0/24", &nft, |it| it.kernel.refused = 3);
    names(
        &told,
        "AllowList",
        "10.1.0.1 is not on the list: only 192.0.2.0/24 may connect; the kernel has dropped 3",
        "wharf publish web 8080:80/tcp --allow 192.0.2.0/24,10.1.0.1",
    );
}

fn dropping(hook: Hook) -> Ruleset {
    let base = Some(Base { hook, priority: 0, policy: Policy::Drop });
    let chain = Chain { base, rules: Vec::new() };
    let (family, backend) = (TableFamily::Inet, Backend::Nftables);
    let chains = [("all".to_owned(), chain)].into();
    Ruleset { tables: vec![Table { family, name: "others".into(), backend, chains }] }
}

#[test]
fn each_plane_meets_the_rules_of_its_own_hooks() {
    let publication = publication("");
    let meets = |plan: &PathPlan, hook| {
        let rules = dropping(hook);
        let matter = Matter::Served(Box::new(served(&publication, plan)));
        explain(&facts(matter, &rules)).obstacle().map(|hop| hop.place)
    };
    let own = plan(Path::HostAddress, Plane::Nft, SourceSeen::Host);
    let loopback = plan(Path::HostLoopback, Plane::Relay, SourceSeen::Gateway);
    let led = plan(Path::HostLoopback, Plane::Ebpf, SourceSeen::Gateway);
    let routed = plan(Path::ExternalV4, Plane::Routed, SourceSeen::Client);
    let table = [
        (through_the_kernel(), vec![Hook::Prerouting, Hook::Forward, Hook::Postrouting]),
        (through_the_relay(), vec![Hook::Prerouting, Hook::Input]),
        (own, vec![Hook::Output, Hook::Postrouting]),
        (led, vec![Hook::Output, Hook::Postrouting]),
        (loopback, vec![Hook::Output, Hook::Postrouting, Hook::Prerouting, Hook::Input]),
        (routed, vec![Hook::Prerouting, Hook::Forward, Hook::Postrouting]),
    ];
    let all = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    for (plan, hooks) in table {
        for hook in all {
            let expected = hooks.contains(&hook).then_some(Place::Firewall);
            assert_eq!(meets(&plan, hook), expected, "{plan:?} {hook:?}");
        }
    }
}

#[test]
fn what_is_not_published_is_told_apart() {
    let nobody = Ruleset::default();
    let say = |matter, sockets| verdict(&explain(&Facts { sockets, ..facts(matter, &nobody) }));
    let stopped = Matter::Stopped { name: "web".into(), state: "exited with 0".into() };
    let elsewhere = Matter::Elsewhere(vec!["web is at port 8080/udp of 0.0.0.0".into()]);
    names(&say(Matter::Nothing, vec![]), "Publication", "nobody listens", "wharf publish");
    let taken = say(Matter::Nothing, vec![socket("0.0.0.0", 8080, false)]);
    names(&taken, "Publication", "httpd (process 42) listens there itself", "wharf publish");
    names(&say(stopped, vec![]), "Target", "not running (exited with 0)", "wharf start web");
    names(&say(elsewhere, vec![]), "Publication", "but web is at port 8080/udp", "publish");
}

#[test]
fn a_path_is_chosen_by_where_the_client_is() {
    let planned = |path| plan(path, Plane::Relay, SourceSeen::Gateway);
    let all = [Path::ExternalV4, Path::HostLoopback, Path::HostAddress, Path::SameBridge];
    let plan = crate::PublicationPlan { paths: all.map(planned).into(), ..Default::default() };
    let question = |address: &str| Question {
        proto: Proto::Tcp,
        address: ip(address),
        port: 80,
        origin: Origin::Host,
    };
    let path = |address: &str, own, near| {
        path_from(&plan, &question(address), own, near).map(|plan| plan.path)
    };
    assert_eq!(path("127.0.0.1", true, false), Some(Path::HostLoopback));
    assert_eq!(path("10.1.0.2", true, false), Some(Path::HostAddress));
    assert_eq!(path("10.1.0.2", false, true), Some(Path::SameBridge));
    assert_eq!(path("10.1.0.2", false, false), Some(Path::ExternalV4));
    assert_eq!(path("fd01::2", false, false), None);
}
