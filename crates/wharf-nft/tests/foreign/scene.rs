//! A host that forwards to a container on a bridge, a client, and both of a plan's questions,
//! asked of the model and of the kernel.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use wharf_host::netlink::{Family as Socket, Netlink};
use wharf_host::nftables::generation;
use wharf_lab::{Host, Lab, Teller, can_run, wait};
use wharf_nft::foreign::{self, Foreign};
use wharf_plan::firewall::{
    Family, Forwarded, Incoming, Obstacle, forward_obstacle, input_obstacle,
};
use wharf_spec::{PortRange, Proto};

/// Long enough for anything that works here, and shorter than the second after which a lost first
/// packet is sent again.
const ANSWER: Duration = Duration::from_millis(900);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

pub(crate) const BRIDGE: &str = "wharf0";
/// The interface clients come by.
pub(crate) const UPLINK: &str = "eth0";
const PUBLISHED: u16 = 8080;
const INSIDE: u16 = 80;
/// Where a program of the host listens.
pub(crate) const LISTENED: u16 = 9000;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A table like ours, so that there is something to forward.
const OWN: &str = "table inet wharf {
    chain prerouting {
        type nat hook prerouting priority dstnat
        fib daddr type local meta nfproto ipv4 tcp dport 8080 dnat ip to 10.9.0.2:80
        fib daddr type local meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd09::2]:80
    }
    chain forward { type filter hook forward priority filter; oifname \"wharf0\" ct status dnat accept; }
}";

pub(crate) struct Scene {
    pub(crate) host: Host,
    client: Host,
    _tellers: Vec<Teller>,
    _web: Host,
    _lab: Lab,
}

/// What the model said and what the kernel did, in both families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) forward: [Option<Obstacle>; 2],
    pub(crate) input: [Option<Obstacle>; 2],
}

// === impl Scene ===

impl Scene {
    /// The hosts, with a container and a program listening; `None` where they cannot be built.
    pub(crate) fn build(name: &str) -> Option<Self> {
        can_run().then_some(())?;
        let lab = Lab::new(name).unwrap();
        let [host, client, web] = ["host", "client", "web"].map(|name| lab.host(name).unwrap());
        host.forward().unwrap();
        lab.link(&host, &["10.1.0.2/24", "fd01::2/64"], &client, &["10.1.0.1/24", "fd01::1/64"])
            .unwrap();
        lab.link(&host, &[], &web, &["10.9.0.2/24", "fd09::2/64"]).unwrap();
        let scene_host = &host;
        sh(
            scene_host,
            "ip link add wharf0 type bridge
             ip link set eth1 master wharf0
             ip addr add 10.9.0.1/24 dev wharf0
             ip addr add fd09::1/64 dev wharf0 nodad
             ip link set wharf0 up",
        );
        web.default_route_via("10.9.0.1").unwrap();
        web.default_route_via("fd09::1").unwrap();
        let tellers = vec![web.tell(&[INSIDE]).unwrap(), host.tell(&[LISTENED]).unwrap()];
        let scene = Self { host, client, _tellers: tellers, _web: web, _lab: lab };
        scene.nft(OWN);
        // The first neighbours of a new bridge are found within a second or two.
        let open = || FAMILIES.iter().all(|f| scene.reaches(*f, PUBLISHED, false)).then_some(());
        wait::until(COMMAND_LIMIT, "the bridge", open).unwrap();
        Some(scene)
    }

    /// Loads `rules` on the host.
    #[track_caller]
    pub(crate) fn nft(&self, rules: &str) {
        let mut command = Command::new("/usr/sbin/nft");
        command.args(["-f", "-"]).stdin(Stdio::piped());
        let mut process = self.host.spawn(command).unwrap();
        // nft wants a line of its own for what follows the end of a block.
        process.feed(rules.replace("; }", ";\n}\n").as_bytes()).unwrap();
        let output = process.output(COMMAND_LIMIT).unwrap();
        assert!(output.is_success(), "{rules}\n{}", output.stderr);
    }

    pub(crate) fn sh(&self, script: &str) -> String {
        sh(&self.host, script)
    }

    pub(crate) fn read(&self) -> Foreign {
        let generation = || generation(&mut Netlink::open(Socket::Netfilter).unwrap()).unwrap();
        let (before, found, after) =
            self.host.run(|| (generation(), foreign::read("wharf"), generation())).unwrap();
        assert_eq!(before, after, "reading changes nothing");
        assert_eq!(found.unread, Vec::<String>::new());
        let ours = found.ruleset.tables.iter().any(|table| table.name == "wharf");
        assert!(!ours, "our own table is left out");
        found
    }

    /// Asks both questions of the model and of the kernel; the answers have to be the same.
    #[track_caller]
    pub(crate) fn check(&self) -> Seen {
        let ruleset = self.read().ruleset;
        let forward = FAMILIES.map(|family| {
            let judged = forward_obstacle(&ruleset, forwarded(family));
            let arrived = self.reaches(family, PUBLISHED, judged.is_none());
            assert_eq!(arrived, judged.is_none(), "forwarded {family:?}: {judged:#?}");
            let general =
                Forwarded { arrives_by: Some(UPLINK), ..Forwarded::to_bridge(family, BRIDGE) };
            let any = forward_obstacle(&ruleset, general);
            let selective = judged.as_ref().is_some_and(|it| it.rule.is_some());
            assert!(any.is_some() || arrived || selective, "a policy is for all: {judged:#?}");
            judged
        });
        let input = FAMILIES.map(|family| {
            let judged = input_obstacle(&ruleset, incoming(family));
            let arrived = self.reaches(family, LISTENED, judged.is_none());
            assert_eq!(arrived, judged.is_none(), "input {family:?}: {judged:#?}");
            judged
        });
        Seen { forward, input }
    }

    /// Whether nothing of this bridge is kept from passing, whatever the ports.
    pub(crate) fn bridge_is_open(&self, family: Family) -> bool {
        let all = Forwarded { arrives_by: Some(UPLINK), ..Forwarded::to_bridge(family, BRIDGE) };
        forward_obstacle(&self.read().ruleset, all).is_none()
    }

    /// Whether the client gets an answer from that port of the host. Where one is expected, a busy
    /// machine is given more than one chance; a packet that is dropped has none.
    fn reaches(&self, family: Family, port: u16, expected: bool) -> bool {
        (0..if expected { 4 } else { 1 }).any(|_| self.asks(family, port))
    }

    fn asks(&self, family: Family, port: u16) -> bool {
        let to = SocketAddr::new(host_address(family), port);
        let ask = || {
            let mut stream = TcpStream::connect_timeout(&to, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read(&mut [0; 1])
        };
        self.client.run(ask).unwrap().is_ok_and(|length| length > 0)
    }
}

// === impl Seen ===

impl Seen {
    /// Each obstacle in the words people read, what is open as `-`.
    pub(crate) fn told(&self) -> [[String; 2]; 2] {
        let tell = |it: &Option<Obstacle>| it.as_ref().map_or("-".to_owned(), ToString::to_string);
        [self.forward.each_ref().map(tell), self.input.each_ref().map(tell)]
    }

    #[track_caller]
    pub(crate) fn all_open(&self) {
        assert_eq!(self.told(), [["-", "-"], ["-", "-"]]);
    }
}

pub(crate) fn forwarded(family: Family) -> Forwarded<'static> {
    let target: IpAddr = match family {
        Family::V4 => "10.9.0.2".parse().unwrap(),
        Family::V6 => "fd09::2".parse().unwrap(),
    };
    Forwarded {
        family,
        bridge: BRIDGE,
        arrives_by: Some(UPLINK),
        client: None,
        proto: Some(Proto::Tcp),
        host: Some(host_address(family)),
        host_ports: Some(PortRange::single(PUBLISHED)),
        target: Some(target),
        target_ports: Some(PortRange::single(INSIDE)),
    }
}

pub(crate) fn incoming(family: Family) -> Incoming<'static> {
    Incoming {
        family,
        proto: Proto::Tcp,
        ports: PortRange::single(LISTENED),
        address: Some(host_address(family)),
        arrives_by: Some(UPLINK),
        client: None,
    }
}

fn host_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => "10.1.0.2".parse().unwrap(),
        Family::V6 => "fd01::2".parse().unwrap(),
    }
}

#[track_caller]
fn sh(host: &Host, script: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-ec", script]);
    let output = host.output(command, COMMAND_LIMIT).unwrap();
    assert!(output.is_success(), "{script}\n{}", output.stderr);
    output.stdout
}
