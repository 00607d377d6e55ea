//! Ports of a container that runs already.

use std::time::Duration;

use super::scene::{Line, Scene};

#[test]
fn ports_of_a_running_container_come_and_go() {
    let Some(scene) = Scene::new("come and go") else { return };
    scene.whoami("web", []);
    scene.is_closed("tcp", 8080);
    scene.wharf.publish("web", &["8080:80", "8081:80/udp"], &[]);
    scene.answers("tcp", 8080, "web");
    scene.answers("udp", 8081, "web");
    let lines = scene.wharf.ok(["port", "web"]);
    for line in ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "80/udp -> 0.0.0.0:8081"] {
        assert!(lines.lines().any(|it| it == line), "{line} is not in\n{lines}");
    }
    assert_eq!(scene.published(), ["8080/tcp", "8081/udp"]);
    scene.wharf.unpublish("web", &["8080:80"]);
    scene.is_closed("tcp", 8080);
    scene.answers("udp", 8081, "web");
    scene.wharf.unpublish("web", &["--all"]);
    scene.is_closed("udp", 8081);
    assert_eq!(scene.published(), [""; 0]);
    assert_eq!(scene.wharf.state("web").as_deref(), Some("running"));
}

#[test]
fn ports_of_the_start_and_later_ones_are_alike() {
    let Some(scene) = Scene::new("alike") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    scene.wharf.publish("web", &["8081:80"], &[]);
    scene.answers("tcp", 8080, "web");
    scene.answers("tcp", 8081, "web");
    // What `run -p` has published is taken back in the same way.
    scene.wharf.unpublish("web", &["8080:80"]);
    scene.is_closed("tcp", 8080);
    scene.answers("tcp", 8081, "web");
}

#[test]
fn ranges_are_published_whole() {
    let Some(scene) = Scene::new("ranges") else { return };
    let inside = scene.whoami("web", []);
    let _teller = inside.tell(&[90, 95, 99, 9000, 9009]).unwrap();
    scene.wharf.publish("web", &["7000-7009:90-99", "9000-9009:9000-9009/udp"], &[]);
    for (host, target) in [(7000, 90), (7005, 95), (7009, 99)] {
        let told = scene.remote.told("tcp", &format!("10.1.0.2:{host}")).unwrap();
        assert_eq!((told.hostname.as_str(), told.port), ("web", Some(target)));
    }
    for port in [9000, 9009] {
        let told = scene.remote.told("udp", &format!("[fd01::2]:{port}")).unwrap();
        assert_eq!((told.hostname.as_str(), told.port), ("web", Some(port)));
    }
    scene.wharf.unpublish("web", &["7000-7009:90-99"]);
    for port in [7000, 7005, 7009] {
        assert!(!scene.remote.can_connect(&format!("10.1.0.2:{port}")), "{port}");
    }
    assert_eq!(scene.published(), ["9000-9009/udp"]);
}

#[test]
fn an_address_of_the_host_is_published_alone() {
    let Some(scene) = Scene::new("one address") else { return };
    scene.whoami("web", []);
    scene.wharf.publish("web", &["[fd01::2]:8080:80", "127.0.0.1:8081:80"], &[]);
    assert_eq!(scene.remote.told("tcp", "[fd01::2]:8080").unwrap().hostname, "web");
    assert_eq!(scene.host.told("tcp", "127.0.0.1:8081").unwrap().hostname, "web");
    for address in ["10.1.0.2:8080", "10.1.0.2:8081", "[fd01::2]:8081"] {
        assert!(!scene.remote.can_connect(address), "{address}");
    }
}

#[test]
fn a_host_port_is_chosen_where_none_is_named() {
    let Some(scene) = Scene::new("chosen") else { return };
    scene.whoami("web", []);
    scene.wharf.publish("web", &["80"], &[]);
    let line = scene.wharf.ok(["port", "web", "80"]);
    let port = line.lines().next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    scene.answers("tcp", port, "web");
}

#[test]
fn options_stand_on_the_line_or_in_the_spec() {
    let Some(scene) = Scene::new("options") else { return };
    scene.whoami("web", []);
    scene.wharf.publish("web", &["8080:80"], &["--via", "relay"]);
    scene.wharf.publish("web", &["8081:80,via=relay"], &[]);
    for ports in ["8080", "8081"] {
        let [entry] = &scene.wharf.ports_at(ports)[..] else { panic!("{ports}") };
        assert_eq!(entry["planes"], serde_json::json!(["relay"]), "{entry:#}");
    }
    scene.answers("tcp", 8080, "web");
    scene.answers("tcp", 8081, "web");
}

#[test]
fn other_ports_are_not_disturbed() {
    let Some(scene) = Scene::new("undisturbed") else { return };
    scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp", "-p", "7000:7000"]);
    let listener = scene.listens("web", 7000);
    let mut lines: Vec<Line> = scene
        .ways()
        .map(|(client, address)| Line::open(client, &format!("{address}:7000"), &listener))
        .into();
    let probers =
        ["tcp", "udp"].map(|proto| scene.remote.probe(proto, "10.1.0.2:8080", 200).unwrap());
    for port in 9000..9025 {
        let (tcp, udp) = (format!("{port}:80"), format!("{port}:80/udp"));
        scene.wharf.publish("web", &[&tcp, &udp], &[]);
        scene.wharf.unpublish("web", &[&tcp, &udp]);
    }
    for prober in probers {
        let seen = prober.stop().unwrap();
        assert!(seen.is_flawless(), "{seen}");
        assert!(seen.slowest < Duration::from_secs(1), "{seen}");
    }
    assert!(lines.iter_mut().all(Line::carries));
    assert_eq!(scene.published(), ["7000/tcp", "8080/tcp", "8080/udp"]);
}

#[test]
fn what_is_taken_back_leaves_nothing() {
    let Some(scene) = Scene::new("nothing left") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let before = scene.wharf.snapshot().unwrap();
    let specs = ["9000:80", "9000:80/udp", "10.1.0.2:9001:80", "9100-9199:9100-9199"];
    scene.wharf.publish("web", &specs, &["--allow", "10.1.0.0/24"]);
    scene.wharf.unpublish("web", &specs);
    scene.wharf.settles_to(&before, super::scene::LIMIT).unwrap();
}

#[test]
fn events_tell_of_both() {
    let Some(scene) = Scene::new("events") else { return };
    scene.whoami("web", []);
    let events = scene.wharf.events().unwrap();
    scene.wharf.publish("web", &["8080:80"], &[]);
    scene.wharf.unpublish("web", &["--all"]);
    let published = events.wait_for("publication", "publish", 1).unwrap();
    let taken = events.wait_for("publication", "unpublish", 1).unwrap();
    assert_eq!(published[0]["id"], taken[0]["id"]);
}
