//! Host ports that cannot be had: who is in the way is named, and nothing is held afterwards.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use super::scene::{Row, Scene, run};

/// How the daemon names the test's own process.
fn this_process() -> String {
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    format!("({}, pid {})", name.trim(), std::process::id())
}

/// A row of `run --rm`: what fails at the start leaves no container then.
fn once<'a>(specs: &[&'a str], says: &'a [&'a str]) -> Row<'a> {
    let mut options = vec!["--rm"];
    options.extend(specs.iter().flat_map(|spec| ["-p", spec]));
    run(&options, says)
}

#[test]
fn a_port_held_by_a_foreign_program_is_refused_with_its_name_and_pid() {
    let Some(scene) = Scene::warm("foreign") else { return };
    let _tcp = scene.host.tcp_listen("0.0.0.0:8080").unwrap();
    let _one = scene.host.tcp_listen("10.1.0.2:8081").unwrap();
    let _udp = scene.host.udp_bind("127.0.0.1:8080").unwrap();
    let _six = scene.host.tcp_listen("[::1]:8082").unwrap();
    let process = this_process();
    let allocated = |at: &str| format!("Bind for {at} failed: port is already allocated {process}");
    let tcp = allocated("0.0.0.0:8080");
    let one = allocated("0.0.0.0:8081");
    let exact = allocated("10.1.0.2:8081");
    let udp = allocated("0.0.0.0:8080");
    let six = allocated("[::]:8082");
    scene.refuses(&[
        once(&["8080:80"], &[&tcp]),
        once(&["8081:80"], &[&one]),
        once(&["10.1.0.2:8081:80"], &[&exact]),
        once(&["8080:80/udp"], &[&udp]),
        once(&["8082:80"], &[&six]),
    ]);
}

#[test]
fn a_port_held_by_another_container_is_refused_with_its_name() {
    let Some(scene) = Scene::warm("container") else { return };
    scene.wharf.ok([
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "8080:80",
        "-p",
        "8090-8099:8090-8099/udp",
        "wharf/whoami",
    ]);
    scene.refuses(&[
        once(
            &["8080:80"],
            &["Bind for 0.0.0.0:8080 failed: port is already allocated (container web)"],
        ),
        once(
            &["127.0.0.1:8080:80"],
            &["Bind for 127.0.0.1:8080 failed: port is already allocated (container web)"],
        ),
        once(&["[::1]:8080:80"], &["Bind for [::1]:8080 failed", "(container web)"]),
        once(
            &["8095:80/udp"],
            &["Bind for 0.0.0.0:8095 failed: port is already allocated (container web)"],
        ),
    ]);
    // The other protocol has ports of its own.
    scene.wharf.ok(["run", "-d", "-p", "8080:80/udp", "-p", "8095:80", "wharf/whoami"]);
}

#[test]
fn a_port_asked_for_twice_is_refused() {
    let Some(scene) = Scene::warm("twice") else { return };
    let twice = &["port is already allocated (asked for twice for this container)"];
    scene.refuses(&[
        once(&["8080:80", "8080:80"], twice),
        once(&["8080:80", "8080:81"], twice),
        once(&["8080:80", "127.0.0.1:8080:80"], twice),
        once(&["8000-8010:8000-8010", "8005:80"], twice),
    ]);
}

#[test]
fn a_range_is_had_whole_or_not_at_all() {
    let Some(scene) = Scene::warm("range") else { return };
    let held = scene.host.tcp_listen("127.0.0.1:9003").unwrap();
    let says =
        format!("Bind for 0.0.0.0:9003 failed: port is already allocated {}", this_process());
    scene.refuses(&[once(&["8999:80", "9000-9005:9000-9005"], &[&says])]);
    drop(held);
    let free: Vec<TcpListener> =
        (8999..=9005).map(|port| scene.host.tcp_listen(&format!("[::]:{port}")).unwrap()).collect();
    drop(free);
    scene.wharf.ok(["run", "-d", "-p", "8999:80", "-p", "9000-9005:9000-9005", "wharf/whoami"]);
}

#[test]
fn an_address_the_host_does_not_have_is_refused() {
    let Some(scene) = Scene::warm("address") else { return };
    scene.refuses(&[
        once(
            &["10.9.9.9:8080:80"],
            &["failed to bind host port 10.9.9.9:8080/tcp", "this host has no such address"],
        ),
        once(
            &["[2001:db8::9]:8080:80/udp"],
            &["failed to bind host port [2001:db8::9]:8080/udp", "this host has no such address"],
        ),
        once(&["10.9.9.9::80"], &["this host has no such address"]),
    ]);
}

#[test]
fn more_ports_than_descriptors_are_refused_with_the_figure_and_the_remedy() {
    let Some(scene) = Scene::warm_unsteered("too many") else { return };
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    let needed = usize::try_from(limit).unwrap() / 65_535 + 1;
    let addresses = (1..=needed).map(|n| format!("127.0.1.{n}:1-65535:1-65535"));
    let specs: Vec<String> = addresses.collect();
    let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
    let figure = format!("publishing this takes {} sockets", needed * 65_535);
    let room = format!("{limit} descriptors");
    scene.refuses(&[once(&specs, &[&figure, &room, "publish fewer ports", "ulimit -Hn"])]);
}

#[test]
fn two_ranges_that_fit_alone_are_refused_together() {
    let Some(scene) = Scene::warm_unsteered("two ranges") else { return };
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    if limit > 25_000 {
        eprintln!("skipped: with {limit} descriptors these ranges fit");
        return;
    }
    let says = ["publishing this takes 24000 sockets", "raise the limit"];
    let ranges = ["127.0.0.1:20000-31999:20000-31999", "10.1.0.2:20000-31999:20000-31999"];
    scene.refuses(&[once(&ranges, &says)]);
}

/// Docker leaves a created container behind, whose name is in the way of the next try.
#[test]
fn a_run_that_is_refused_leaves_the_name_and_the_other_ports_free() {
    let Some(scene) = Scene::warm("nothing kept") else { return };
    let held = scene.host.tcp_listen("0.0.0.0:8081").unwrap();
    let line = ["run", "-d", "--name", "web", "-p", "8080:80", "-p", "8081:80", "wharf/whoami"];
    let failed = scene.wharf.fails(line);
    assert_eq!(failed.code(), 125, "{failed:?}");
    assert_eq!(scene.wharf.json(["ps", "-a"]), serde_json::json!([]));
    assert_eq!(scene.wharf.json(["ports"]), serde_json::json!([]));
    let at: SocketAddr = (IpAddr::from([0, 0, 0, 0]), 8080).into();
    drop(
        scene.host.run(|| (TcpListener::bind(at).unwrap(), UdpSocket::bind(at).unwrap())).unwrap(),
    );
    drop(held);
    scene.wharf.ok(line);
    scene.wharf.serving("web", 80).unwrap();
    assert!(scene.host.can_connect("127.0.0.1:8080"));
}

#[test]
fn a_made_container_that_cannot_start_waits_for_its_port() {
    let Some(scene) = Scene::warm("kept") else { return };
    let held = scene.host.tcp_listen("0.0.0.0:8081").unwrap();
    scene.wharf.ok(["create", "--name", "web", "-p", "8081:80", "wharf/whoami"]);
    let failed = scene.wharf.fails(["start", "web"]);
    assert!(failed.stderr.contains("Bind for 0.0.0.0:8081 failed"), "{failed:?}");
    let listed = scene.wharf.json(["ps", "-a"]);
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&"web".into(), &"created".into()));
    drop(held);
    scene.wharf.ok(["start", "web"]);
    scene.wharf.serving("web", 80).unwrap();
}
