//! Under Debian's real dockerd. Each test starts one, which takes seconds, and asks everything of
//! it in turn.

use std::collections::BTreeSet;
use std::time::Duration;

use wharf_lab::{Host, wait};

use super::scene::{Dock, GATEWAY, LIMIT, seen, told};

/// A web port, a name server's, and a range.
const PORTS: [&str; 3] = ["-p=8080:80", "-p=5353:53/udp", "-p=9000-9019:7000-7019"];
/// One proxy for each port and family.
const PROXIES: usize = 2 * (1 + 1 + 20);

/// The ports that the container tells on.
fn inside_ports() -> Vec<u16> {
    [80, 53].into_iter().chain(7000..7020).collect()
}

/// A container called `web` with [`PORTS`], and its teller.
fn web(dock: &Dock) -> (Host, wharf_lab::Teller) {
    let web = dock.run("web", &PORTS);
    let teller = web.tell(&inside_ports()).unwrap();
    (web, teller)
}

/// Every port by every way: who is seen. The ways by NAT show what the firewall's rules leave.
fn every_way_shows_the_right_source(dock: &Dock, remote_sees: &str, host_sees: &str) {
    let Dock { scene, .. } = dock;
    let neighbour = dock.run("neighbour", &[]);
    for (proto, port) in [("tcp", 8080), ("udp", 5353)] {
        let at = |address: &str| format!("{address}:{port}");
        assert_eq!(seen(&scene.host, proto, &at("127.0.0.1")), GATEWAY);
        assert_eq!(seen(&scene.host, proto, &at("[::1]")), GATEWAY);
        assert_eq!(seen(&scene.host, proto, &at("10.1.0.2")), host_sees);
        assert_eq!(seen(&scene.remote, proto, &at("10.1.0.2")), remote_sees);
        assert_eq!(seen(&scene.remote, proto, &at("[fd01::2]")), GATEWAY);
        assert_eq!(seen(&neighbour, proto, &at(GATEWAY)), GATEWAY);
        assert_eq!(seen(&neighbour, proto, &at("10.1.0.2")), GATEWAY);
    }
    for nth in 0..20 {
        let reached = told(&scene.host, "tcp", &format!("127.0.0.1:{}", 9000 + nth));
        assert_eq!(reached, (GATEWAY.to_owned(), 7000 + nth));
    }
    dock.docker.ok(&["rm", "-f", "neighbour"]);
}

/// What the program in the container logs is what a person looks at.
fn the_containers_log_names_the_clients(dock: &Dock, remote_sees: &str) {
    let server = ["box", "httpd", "-f", "-v", "-p", "80"];
    let line = ["run", "-d", "--name=logging", "--stop-signal=KILL", "-p=8081:80"];
    dock.docker.ok(&[line.as_slice(), &server].concat());
    let ask = |client: &Host, address: &str| {
        wait::until(LIMIT, "an answer", || client.http_get(address, "/srv/greeting").ok()).unwrap();
    };
    ask(&dock.scene.remote, "10.1.0.2:8081");
    ask(&dock.scene.host, "127.0.0.1:8081");
    let log = || dock.docker.run(&["logs", "logging"]).unwrap().stderr;
    // Docker takes lines to its log some time after they were written.
    let are_named = || {
        let log = log();
        let clients: BTreeSet<&str> =
            log.lines().filter_map(|line| line.split("]:").next()?.rsplit(':').next()).collect();
        (clients == BTreeSet::from([remote_sees, GATEWAY])).then_some(())
    };
    wait::until(LIMIT, "the clients in the log", are_named)
        .unwrap_or_else(|error| panic!("{error}: {}", log()));
    dock.docker.ok(&["rm", "-f", "logging"]);
}

fn a_port_in_use_is_dockers_error(dock: &Dock) {
    let taken = dock.scene.host.tcp_listen("0.0.0.0:7070").unwrap();
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    let said = dock.docker.fails(&["run", "--name=late", "-p=7070:80", "box", "true"]);
    let wanted = format!(
        "Error starting userland proxy: listen tcp4 0.0.0.0:7070: bind: address already in use \
         ({}, pid {}).",
        comm.trim(),
        std::process::id()
    );
    assert!(said.stderr.contains(&wanted), "{said:?}");
    assert_eq!(said.code(), 125);
    drop(taken);
    assert!(dock.scene.is_free(7070, "tcp"));
    dock.docker.ok(&["rm", "late"]);
    let said = dock.docker.fails(&["run", "--rm", "-p=7071:80/sctp", "box", "true"]);
    assert!(said.stderr.contains("Error starting userland proxy: sctp is not relayed"), "{said:?}");
}

fn stopping_and_removing_frees_the_ports(dock: &Dock) {
    let all_free = || {
        dock.scene.is_free(8080, "tcp")
            && dock.scene.is_free(5353, "udp")
            && (9000..9020).all(|port| dock.scene.is_free(port, "tcp"))
    };
    for end in [["stop", "web"].as_slice(), &["rm", "-f", "web"]] {
        dock.docker.ok(end);
        assert!(all_free());
        assert_eq!(dock.scene.proxies(""), BTreeSet::new());
        if end[0] == "stop" {
            dock.docker.ok(&["start", "web"]);
            let _teller = dock.docker.container("web").unwrap().tell(&inside_ports()).unwrap();
            assert_eq!(seen(&dock.scene.host, "tcp", "127.0.0.1:8080"), GATEWAY);
            assert_eq!(dock.scene.proxies("").len(), PROXIES);
        }
    }
}

/// SIGKILL to one proxy: its port is free, the others go on.
fn a_killed_proxy_holds_nothing(dock: &Dock) {
    for pid in dock.scene.proxies("-host-port 8080 ") {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    dock.scene.becomes_free(8080, "tcp");
    assert_eq!(dock.scene.proxies("").len(), PROXIES - 2);
    assert_eq!(seen(&dock.scene.host, "tcp", "127.0.0.1:9000"), GATEWAY);
}

/// dockerd is killed and started again; with `--live-restore` the container has never noticed.
fn dockerd_comes_back(dock: &mut Dock) {
    dock.docker.kill9().unwrap();
    let ended = || dock.scene.proxies("").is_empty().then_some(());
    wait::until(LIMIT, "the end of all proxies", ended).unwrap();
    dock.scene.becomes_free(9000, "tcp");
    dock.docker.start_again().unwrap();
    assert_eq!(dock.scene.proxies("").len(), PROXIES);
    assert_eq!(seen(&dock.scene.host, "tcp", "127.0.0.1:8080"), GATEWAY);
    assert_eq!(seen(&dock.scene.remote, "udp", "[fd01::2]:5353"), GATEWAY);
}

#[test]
fn dockerd_is_served_by_a_process_for_each_port() {
    let Some(mut dock) = Dock::new("dockerd alone", &["--live-restore"]) else { return };
    let (_web, teller) = web(&dock);
    assert_eq!(dock.scene.proxies("").len(), PROXIES);
    every_way_shows_the_right_source(&dock, "10.1.0.1", "10.1.0.2");
    the_containers_log_names_the_clients(&dock, "10.1.0.1");
    a_port_in_use_is_dockers_error(&dock);
    dockerd_comes_back(&mut dock);
    a_killed_proxy_holds_nothing(&dock);
    drop(teller);
    stopping_and_removing_frees_the_ports(&dock);
}

#[test]
fn dockerd_is_served_by_one_relay_for_all_ports() {
    let Some(mut dock) = Dock::new("dockerd relay", &["--live-restore"]) else { return };
    let mut relay = dock.scene.relay();
    let (_web, teller) = web(&dock);
    let routes = dock.scene.routes_become(PROXIES);
    assert!(routes.iter().all(|it| it.leased && it.route.id.starts_with("docker-proxy/")));
    assert_eq!(dock.scene.wharf.pids_of("relay").len(), 1);
    every_way_shows_the_right_source(&dock, "10.1.0.1", "10.1.0.2");
    the_containers_log_names_the_clients(&dock, "10.1.0.1");
    a_port_in_use_is_dockers_error(&dock);
    assert!(dock.scene.routes().iter().any(|it| it.stats.connections_total > 0));

    // Without it every process serves its own port; with the next it is one for all again.
    relay.kill9().unwrap();
    assert_eq!(seen(&dock.scene.host, "tcp", "127.0.0.1:8080"), GATEWAY);
    assert_eq!(seen(&dock.scene.remote, "udp", "[fd01::2]:5353"), GATEWAY);
    let _relay = dock.scene.relay();
    dock.scene.routes_become(PROXIES);
    assert_eq!(seen(&dock.scene.host, "tcp", "127.0.0.1:9019"), GATEWAY);

    dockerd_comes_back(&mut dock);
    dock.scene.routes_become(PROXIES);
    a_killed_proxy_holds_nothing(&dock);
    dock.scene.routes_become(PROXIES - 2);
    drop(teller);
    stopping_and_removing_frees_the_ports(&dock);
    assert_eq!(dock.scene.routes(), []);
}

#[test]
fn without_rules_of_docker_everything_comes_through_us() {
    let Some(mut dock) = Dock::new("dockerd no rules", &["--iptables=false"]) else { return };
    let _relay = dock.scene.relay();
    let (web, teller) = web(&dock);
    every_way_shows_the_right_source(&dock, GATEWAY, GATEWAY);
    the_containers_log_names_the_clients(&dock, GATEWAY);
    let counted = dock.scene.routes().iter().map(|it| it.stats.connections_total).sum::<u64>();
    assert!(counted >= 7 + 20, "{counted}");
    // A namespace held here would stay on the bridge, with the address of the next one.
    drop((teller, web));

    // Without `--live-restore` the container ends with its dockerd, and starts with the next.
    dock.docker.ok(&["update", "--restart=always", "web"]);
    let begun = |dock: &Dock| dock.docker.ok(&["inspect", "-f", "{{.State.StartedAt}}", "web"]);
    let before = begun(&dock);
    dock.docker.kill9().unwrap();
    dock.docker.start_again().unwrap();
    let again = || (begun(&dock) != before).then(|| dock.docker.container("web").ok()).flatten();
    let web = wait::until(Duration::from_secs(30), "the container", again).unwrap();
    let _teller = web.tell(&inside_ports()).unwrap();
    dock.scene.routes_become(PROXIES);
    assert_eq!(seen(&dock.scene.remote, "tcp", "10.1.0.2:8080"), GATEWAY);
    assert_eq!(seen(&dock.scene.remote, "udp", "10.1.0.2:5353"), GATEWAY);
}
