//! Ranges that one socket listens for.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use wharf_lab::{Host, Teller, wait};

use super::scene::{LIMIT, OWN, Scene};

const RANGE: [&str; 4] = ["-p", "1024-60999:1024-60999", "-p", "1024-60999:1024-60999/udp"];
/// Some of its ports: the ends, and others from all over.
const SOME: [u16; 8] = [1024, 1025, 8080, 20_001, 33_333, 40_000, 59_998, 60_999];

/// A container with the whole range, and somebody in it who answers at some ports.
fn published(name: &str, options: &[&str]) -> Option<(Scene, Teller)> {
    let scene = Scene::new(name)?;
    let inside = scene.whoami("web", options.iter().copied());
    let teller = inside.tell(&SOME).unwrap();
    Some((scene, teller))
}

#[track_caller]
fn answers(client: &Host, address: &str, port: u16) {
    for proto in ["tcp", "udp"] {
        let at = format!("{address}:{port}");
        let told = client.told(proto, &at).unwrap_or_else(|e| panic!("{proto} {at}: {e:#}"));
        assert_eq!((told.hostname.as_str(), told.port), ("web", Some(port)), "{proto} {at}");
    }
}

fn resident(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

#[test]
fn sixty_thousand_ports_are_one_promise_and_few_sockets() {
    let Some(scene) = Scene::new("sixty thousand") else { return };
    let inside = scene.whoami("web", ["-p", "80:80", "-p", "80:80/udp"]);
    let _teller = inside.tell(&SOME).unwrap();
    let all = || scene.wharf.pids_of("daemon").into_iter().chain(scene.wharf.pids_of("relay"));
    let sockets = || scene.wharf.snapshot().unwrap().section("sockets").len();
    let (memory, before) = (all().map(resident).sum::<u64>(), sockets());
    let began = Instant::now();
    let specs = ["1024-60999:1024-60999", "1024-60999:1024-60999/udp"];
    scene.wharf.publish("web", &specs, &[]);
    let took = began.elapsed();
    let more = all().map(resident).sum::<u64>().saturating_sub(memory);
    eprintln!("{took:?}, {more} KiB more, {} sockets more", sockets() - before);
    assert!(sockets() - before <= 8);
    assert!(more < 10_000, "{more} KiB");
    for port in SOME {
        for address in ["10.1.0.2", "[fd01::2]"] {
            answers(&scene.remote, address, port);
        }
        for address in OWN {
            answers(&scene.host, address, port);
        }
    }
    let notes = scene.entry("1024-60999", "tcp")["notes"].to_string();
    assert!(notes.contains("one socket, at port 1024, listens for the whole range"), "{notes}");
}

#[test]
fn the_floor_alone_serves_every_port_and_keeps_clients() {
    let options = RANGE.map(|it| if it == "-p" { it.into() } else { format!("{it},via=relay") });
    let options = options.each_ref().map(String::as_str);
    let Some((scene, _teller)) = published("floor", &options) else { return };
    for (address, own) in [("10.1.0.2", "10.1.0.1"), ("[fd01::2]", "fd01::1")] {
        for port in SOME {
            answers(&scene.remote, address, port);
            for proto in ["tcp", "udp"] {
                let told = scene.remote.told(proto, &format!("{address}:{port}")).unwrap();
                assert_eq!(told.source.to_string(), own, "{proto} {address}:{port}");
            }
        }
    }
    SOME.iter().for_each(|port| answers(&scene.host, "127.0.0.1", *port));
    // And after everybody was killed, and the socket bound anew.
    scene.wharf.kill9("daemon").unwrap();
    scene.wharf.kill9("relay").unwrap();
    scene.wharf.ok(["ps"]);
    SOME.iter().for_each(|port| answers(&scene.remote, "10.1.0.2", *port));
    scene.wharf.ok(["relay", "upgrade"]);
    SOME.iter().for_each(|port| answers(&scene.remote, "10.1.0.2", *port));
}

#[test]
fn who_has_a_port_of_the_range_is_found_and_named() {
    let Some(scene) = Scene::new("found") else { return };
    scene.whoami("web", []);
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let this = format!("({}, pid {})", name.trim(), std::process::id());
    for n in 0..20u16 {
        // From all over the range, and never the same distance apart.
        let port = 1025 + (n * 2999 + n * n) % 59_000;
        let address = OWN[usize::from(n) % OWN.len()];
        let at = format!("{address}:{port}");
        let tcp = (n % 2 == 0).then(|| scene.host.tcp_listen(&at).unwrap());
        let udp = (n % 2 == 1).then(|| scene.host.udp_bind(&at).unwrap());
        let failed = scene.wharf.publish_fails("web", &[RANGE[1], RANGE[3]], &[]);
        let said = format!("Bind for {at} failed: port is already allocated {this}");
        assert!(failed.stderr.contains(&said), "{said}: {failed:?}");
        drop((tcp, udp));
    }
    assert_eq!(scene.wharf.ports().len(), 0);
    scene.wharf.publish("web", &[RANGE[1], RANGE[3]], &[]);
}

#[test]
fn a_covered_port_is_in_use_for_everybody_else() {
    let Some((scene, _teller)) = published("covered", &RANGE) else { return };
    for address in ["0.0.0.0", "127.0.0.1", "10.1.0.2", "[::]", "[::1]"] {
        let at: SocketAddr = format!("{address}:33333").parse().unwrap();
        let bound = scene.host.run(|| std::net::TcpListener::bind(at).map(drop)).unwrap();
        assert_eq!(bound.unwrap_err().kind(), ErrorKind::AddrInUse, "tcp {at}");
        let bound = scene.host.run(|| std::net::UdpSocket::bind(at).map(drop)).unwrap();
        assert_eq!(bound.unwrap_err().kind(), ErrorKind::AddrInUse, "udp {at}");
    }
    // A container's own ports are its own.
    let inside = scene.wharf.container("web").unwrap();
    drop(inside.tcp_listen("0.0.0.0:44444").unwrap());
    scene.whoami("other", []);
    for spec in ["33333:80", "127.0.0.1:33334:80/udp", "60000-61500:60000-61500"] {
        let failed = scene.wharf.publish_fails("other", &[spec], &[]);
        assert!(failed.stderr.contains("already allocated (container web)"), "{failed:?}");
    }
    scene.wharf.ok(["rm", "-f", "web"]);
    drop(scene.host.tcp_listen("0.0.0.0:33333").unwrap());
}

#[test]
fn clients_of_the_host_keep_their_ports_inside_the_range() {
    let Some((scene, _teller)) = published("clients", &RANGE) else { return };
    let far = scene.remote.tell(&[70]).unwrap();
    // Connected, unconnected, and TCP: their own ports are those the kernel gives out, all covered.
    for _ in 0..10 {
        for proto in ["tcp", "udp"] {
            scene.host.told(proto, "10.1.0.1:70").unwrap();
        }
        let socket = scene.host.udp_bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!((1024..61_000).contains(&port), "{port}");
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.send_to(b"who am I?", "10.1.0.1:70").unwrap();
        let (length, from) = socket.recv_from(&mut [0; 2048]).unwrap();
        assert!(length > 0 && from.to_string() == "10.1.0.1:70", "{from}");
    }
    drop(far);
}

/// Whether the connection arrives at this listener of the host.
fn arrives(listener: &std::net::TcpListener, client: &Host, at: &str) -> bool {
    listener.set_nonblocking(true).unwrap();
    let _connection = client.tcp(at).unwrap();
    wait::until(LIMIT, "a connection", || listener.accept().ok()).is_ok()
}

#[test]
fn a_server_of_the_host_keeps_the_port_that_the_kernel_gave_it() {
    let Some((scene, _teller)) = published("given", &RANGE) else { return };
    let listener = scene.host.tcp_listen("0.0.0.0:0").unwrap();
    let socket = scene.host.udp_bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let [tcp, udp] = [listener.local_addr(), socket.local_addr()].map(|at| at.unwrap().port());
    assert!([tcp, udp].iter().all(|port| (1024..61_000).contains(port)), "{tcp} {udp}");
    for (client, address) in
        [(&scene.host, "127.0.0.1"), (&scene.host, "10.1.0.2"), (&scene.remote, "10.1.0.2")]
    {
        assert!(arrives(&listener, client, &format!("{address}:{tcp}")), "{address}:{tcp}");
        // The client's own port is one of the range as well, and gets the answer.
        let sender = client.udp_bind("0.0.0.0:0").unwrap();
        sender.set_read_timeout(Some(LIMIT)).unwrap();
        sender.send_to(b"ping", format!("{address}:{udp}")).unwrap();
        let (_, from) = socket.recv_from(&mut [0; 16]).unwrap();
        socket.send_to(b"pong", from).unwrap();
        let (length, from) = sender.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((length, from.to_string()), (4, format!("{address}:{udp}")));
    }
}

#[test]
fn of_two_that_want_the_same_ports_at_once_one_gets_them() {
    let Some(scene) = Scene::new("at once") else { return };
    scene.whoami("first", []);
    scene.whoami("second", []);
    for _ in 0..10 {
        let tries = [("first", "20000-29999:20000-29999"), ("second", "25000-34999:25000-34999")];
        let tried = std::thread::scope(|scope| {
            let threads = tries.map(|(name, spec)| {
                let wharf = &scene.wharf;
                scope.spawn(move || wharf.run(["publish", name, spec]).unwrap())
            });
            threads.map(|thread| thread.join().unwrap())
        });
        let refused: Vec<_> = tried.iter().filter(|tried| !tried.is_success()).collect();
        assert_eq!(refused.len(), 1, "{tried:?}");
        assert!(refused[0].stderr.contains("port is already allocated"), "{refused:?}");
        assert_eq!(scene.wharf.ports().len(), 1);
        let winner = tries[usize::from(!tried[0].is_success())];
        scene.wharf.ok(["unpublish", winner.0, winner.1]);
    }
}

#[test]
fn without_the_plane_a_range_has_a_socket_for_each_port_again() {
    let Some((scene, _teller)) = published("unsteered", &["-p", "8080-9999:8080-9999"]) else {
        return;
    };
    let scene = scene.with_env("WHARF_NO_EBPF", "true");
    let answered = || scene.remote.told("tcp", "10.1.0.2:8080").is_ok();
    assert!(answered());
    scene.wharf.kill9("daemon").unwrap();
    scene.wharf.ok(["ps"]);
    wait::until(LIMIT, "an answer", || answered().then_some(())).unwrap();
    assert!(scene.host.told("tcp", "127.0.0.1:8080").is_ok());
    let entry = scene.entry("8080-9999", "tcp");
    assert_eq!(entry["state"], "active", "{entry}");
    assert!(!entry["notes"].to_string().contains("one socket"), "{entry}");
}
