//! The contract, without a dockerd: flags, descriptors, signals, and the two ways to serve.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use wharf_lab::Process;
use wharf_lab::wait;

use super::scene::{GATEWAY, LIMIT, Scene, seen, target, told};

const TCP: &str =
    "-proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.29.0.2 -container-port 80";

fn signalled(mut proxy: Process, signal: rustix::process::Signal) -> i32 {
    proxy.signal(signal).unwrap();
    proxy.wait(LIMIT).unwrap();
    proxy.output(LIMIT).unwrap().code()
}

/// What a proxy that fails reports, and its exit code.
fn refusal(scene: &Scene, args: &str, socket: Option<Stdio>) -> (String, i32) {
    let output = scene.proxy(args, socket).output(LIMIT).unwrap();
    assert!(output.stderr.starts_with("docker-proxy: "), "{output:?}");
    (output.stdout.clone(), output.code())
}

#[test]
fn a_port_is_served_until_a_signal_comes() {
    let Some(scene) = Scene::new("proxy signals") else { return };
    let _target = target(&scene);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        for proto in ["tcp", "udp"] {
            let proxy = scene.serving(&TCP.replace("tcp", proto), None);
            assert_eq!(told(&scene.remote, proto, "10.1.0.2:8080"), (GATEWAY.to_owned(), 80));
            assert_eq!(seen(&scene.host, proto, "127.0.0.1:8080"), GATEWAY);
            assert_eq!(signalled(proxy, signal), 0);
            assert!(scene.is_free(8080, proto));
        }
    }
}

#[test]
fn the_families_of_host_and_container_may_differ() {
    let Some(scene) = Scene::new("proxy families") else { return };
    let _target = target(&scene);
    let _proxy = scene.serving(&TCP.replace("0.0.0.0", "::"), None);
    assert_eq!(seen(&scene.remote, "tcp", "[fd01::2]:8080"), GATEWAY);
    // It is for IPv6 alone: dockerd starts another one for IPv4.
    assert!(!scene.host.can_connect("127.0.0.1:8080"));
    let _other = scene.serving(TCP, None);
    assert_eq!(seen(&scene.remote, "tcp", "10.1.0.2:8080"), GATEWAY);
}

#[test]
fn it_runs_by_hand_without_a_pipe() {
    let Some(scene) = Scene::new("proxy by hand") else { return };
    let _target = target(&scene);
    let args = ["docker-proxy"].into_iter().chain(TCP.split(' '));
    let proxy = scene.wharf.spawn(args).unwrap();
    wait::until(LIMIT, "the port", || scene.host.can_connect("127.0.0.1:8080").then_some(()))
        .unwrap();
    assert_eq!(seen(&scene.host, "tcp", "127.0.0.1:8080"), GATEWAY);
    assert_eq!(signalled(proxy, rustix::process::Signal::INT), 0);
    let version = scene.wharf.ok(["docker-proxy", "-v"]);
    assert!(version.starts_with("docker-proxy (wharf) version "), "{version}");
    assert!(scene.wharf.ok(["docker-proxy", "--help"]).contains("-use-listen-fd"));
    assert!(scene.wharf.ok(["help", "docker-proxy"]).contains("userland-proxy-path"));
}

#[test]
fn what_cannot_be_served_is_reported_in_dockers_words() {
    let Some(scene) = Scene::new("proxy refusals") else { return };
    let _tcp = scene.host.tcp_listen("10.1.0.2:8080").unwrap();
    let _udp = scene.host.udp_bind("0.0.0.0:8080").unwrap();
    let holder = std::fs::read_to_string("/proc/self/comm").unwrap();
    let holder = format!("({}, pid {})", holder.trim(), std::process::id());
    let in_use = "bind: address already in use";
    let cases = [
        (TCP.to_owned(), format!("1\nlisten tcp4 0.0.0.0:8080: {in_use} {holder}")),
        (TCP.replace("tcp", "udp"), format!("1\nlisten udp4 0.0.0.0:8080: {in_use} {holder}")),
        (
            TCP.replace("0.0.0.0", "192.0.2.1"),
            "1\nlisten tcp4 192.0.2.1:8080: bind: cannot assign requested address".to_owned(),
        ),
    ];
    for (args, wanted) in cases {
        assert_eq!(refusal(&scene, &args, None), (wanted, 1), "{args}");
    }
    let (told, code) = refusal(&scene, &TCP.replace("tcp", "sctp"), None);
    assert!(told.starts_with("1\nsctp is not relayed: only tcp and udp are"), "{told}");
    assert_eq!(code, 1);
    let (told, code) = refusal(&scene, "-proto tcp -new-flag", None);
    assert_eq!((told.as_str(), code), ("1\nflag provided but not defined: -new-flag", 2));
}

#[test]
fn a_socket_bound_by_dockerd_is_served() {
    let Some(scene) = Scene::new("proxy handed") else { return };
    let _target = target(&scene);
    let args = |proto| format!("{} -use-listen-fd", TCP.replace("tcp", proto));
    let hand = |fd: OwnedFd| Some(Stdio::from(fd));
    // A client of before is served as well.
    let listener = scene.host.tcp_listen("0.0.0.0:8080").unwrap();
    let waiting = scene.host.tcp("127.0.0.1:8080").unwrap();
    let proxy = scene.serving(&args("tcp"), hand(TcpListener::into(listener)));
    let answer = wharf_lab::http::get(waiting, "x", "/").unwrap().json().unwrap();
    assert!(answer["remoteAddr"].as_str().unwrap().starts_with(GATEWAY), "{answer}");
    assert_eq!(signalled(proxy, rustix::process::Signal::INT), 0);
    assert!(scene.is_free(8080, "tcp"));

    let socket = scene.host.udp_bind("0.0.0.0:8080").unwrap();
    let _proxy = scene.serving(&args("udp"), hand(UdpSocket::into(socket)));
    // A connected socket hears an answer from the address it asked only.
    assert_eq!(seen(&scene.remote, "udp", "10.1.0.2:8080"), GATEWAY);

    let wrong = scene.host.tcp_listen("0.0.0.0:8081").unwrap();
    let (told, code) = refusal(&scene, &args("tcp"), hand(TcpListener::into(wrong)));
    let wanted = "1\nthe socket handed over for tcp 0.0.0.0:8080 is bound to 0.0.0.0:8081";
    assert_eq!((told.as_str(), code), (wanted, 1));
    let (told, _) = refusal(&scene, &args("tcp"), None);
    assert!(told.starts_with("1\n-use-listen-fd: there is no descriptor 4"), "{told}");
}

#[test]
fn a_running_relay_serves_all_ports_by_leases() {
    let Some(scene) = Scene::new("proxy relay") else { return };
    let _target = target(&scene);
    let relay = scene.relay();
    let ports = 8080..8086;
    let line = |port: u16| TCP.replace("8080", &port.to_string());
    let mut proxies: Vec<Process> =
        ports.clone().map(|port| scene.serving(&line(port), None)).collect();
    for listed in scene.routes_become(ports.len()) {
        assert!(listed.leased && listed.route.id.starts_with("docker-proxy/tcp/0.0.0.0:80"));
        assert_eq!(listed.route.neighbours.first().unwrap().to_string(), "172.29.0.0/24");
    }
    for proxy in &proxies {
        let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
        assert!(status.contains("Threads:\t1\n"), "{status}");
    }
    assert_eq!(seen(&scene.remote, "tcp", "10.1.0.2:8085"), GATEWAY);
    assert_eq!(scene.routes()[5].stats.connections_total, 1);

    // Ended by a signal: free when the process is gone. Killed: free a moment later.
    assert_eq!(signalled(proxies.remove(0), rustix::process::Signal::INT), 0);
    assert!(scene.is_free(8080, "tcp"));
    proxies.remove(0).kill9().unwrap();
    scene.becomes_free(8081, "tcp");
    assert_eq!(scene.routes_become(ports.len() - 2).len(), proxies.len());
    drop(relay);
}

#[test]
fn a_relay_of_another_namespace_is_left_alone() {
    let Some(scene) = Scene::new("proxy namespaces") else { return };
    let _target = target(&scene);
    let _relay = scene.remote.spawn(scene.wharf.command(["relay"])).unwrap();
    let socket = wharf_relay::socket_path(&scene.wharf.run_dir());
    wait::until(LIMIT, "a relay", || wharf_relay::RelayClient::connect(&socket).ok()).unwrap();
    let proxy = scene.serving(TCP, None);
    assert_eq!(seen(&scene.host, "tcp", "127.0.0.1:8080"), GATEWAY);
    assert_eq!(scene.routes().len(), 0);
    assert!(proxy.stderr().contains("serves network namespace"), "{}", proxy.stderr());
}

#[test]
fn the_port_stays_open_while_relays_come_and_go() {
    let Some(scene) = Scene::new("proxy handover") else { return };
    let (target, _teller) = target(&scene);
    let proxy = scene.serving(TCP, None);
    let listener = target.tcp_listen("0.0.0.0:90").unwrap();
    let _other = scene.serving(&TCP.replace("80", "90"), None);
    // Begun by the process itself, it goes on there after the relay has taken over.
    let mut kept = scene.remote.tcp("10.1.0.2:9090").unwrap();
    let (mut inside, _) = listener.accept().unwrap();
    let mut relay = scene.relay();
    scene.routes_become(2);
    assert_eq!(seen(&scene.remote, "tcp", "10.1.0.2:8080"), GATEWAY);
    let mut heard = [0; 5];
    kept.write_all(b"there").unwrap();
    inside.read_exact(&mut heard).unwrap();
    inside.write_all(b"again").unwrap();
    kept.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"again");

    // Killed and replaced at once, and killed for good: no client is ever refused.
    relay.kill9().unwrap();
    let mut relay = scene.relay();
    assert_eq!(seen(&scene.remote, "tcp", "10.1.0.2:8080"), GATEWAY);
    scene.routes_become(2);
    relay.kill9().unwrap();
    assert_eq!(seen(&scene.remote, "tcp", "10.1.0.2:8080"), GATEWAY);
    // Told to end, as by a unit that is restarted.
    let relay = scene.relay();
    scene.routes_become(2);
    assert_eq!(signalled(relay, rustix::process::Signal::TERM), 0);
    assert_eq!(seen(&scene.remote, "tcp", "10.1.0.2:8080"), GATEWAY);
    assert_eq!(signalled(proxy, rustix::process::Signal::TERM), 0);
    assert!(scene.is_free(8080, "tcp"));
}

#[test]
fn an_upgrade_of_the_relay_is_not_noticed() {
    let Some(scene) = Scene::new("proxy upgrade") else { return };
    let _target = target(&scene);
    let _first = scene.relay();
    let mut tcp = scene.serving(TCP, None);
    let udp = scene.serving(&TCP.replace("tcp", "udp"), None);
    let mut asked = 0;
    for _ in 0..3 {
        let mut upgrade = scene.wharf.spawn(["relay", "upgrade", "--drain-seconds=1"]).unwrap();
        while upgrade.is_running() {
            assert_eq!(seen(&scene.remote, "tcp", "10.1.0.2:8080"), GATEWAY);
            assert_eq!(seen(&scene.remote, "udp", "10.1.0.2:8080"), GATEWAY);
            asked += 1;
        }
        let output = upgrade.output(LIMIT).unwrap();
        assert!(output.is_success(), "{output:?}");
        assert!(scene.routes_become(2).iter().all(|it| it.leased));
    }
    assert!(asked > 0);
    // The lease is the new relay's: it ends with the process that has it.
    assert_eq!(signalled(udp, rustix::process::Signal::INT), 0);
    assert!(scene.is_free(8080, "udp"));
    assert_eq!(seen(&scene.remote, "tcp", "10.1.0.2:8080"), GATEWAY);
    tcp.kill9().unwrap();
    scene.becomes_free(8080, "tcp");
    scene.routes_become(0);
}
