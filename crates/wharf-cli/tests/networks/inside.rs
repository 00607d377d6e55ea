//! What a container sees of its network.

use super::scene::Scene;

/// A container that sleeps, with a shell to look around in.
fn sleeper(scene: &Scene, name: &str, options: &[&str]) -> Option<()> {
    let image = scene.busybox_image()?;
    let mut line = vec!["run", "-d", "--name", name];
    line.extend(options);
    line.extend([image.as_str(), "/bin/sleep", "600"]);
    scene.wharf.ok(line);
    Some(())
}

fn cat(scene: &Scene, name: &str, path: &str) -> String {
    scene.wharf.ok(["exec", name, "/bin/cat", path])
}

#[test]
fn a_container_finds_its_own_name_in_etc_hosts() {
    let Some(scene) = Scene::new("hosts") else { return };
    let Some(()) = sleeper(&scene, "box", &["--hostname", "box.example.org"]) else { return };
    let hosts = cat(&scene, "box", "/etc/hosts");
    assert!(
        hosts.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
        "{hosts}"
    );
    for field in ["IPAddress", "GlobalIPv6Address"] {
        let line = format!("{}\tbox.example.org box", scene.address("box", field));
        assert!(hosts.lines().any(|it| it == line), "{line} is not in\n{hosts}");
    }
    assert_eq!(cat(&scene, "box", "/etc/hostname"), "box.example.org");
    assert_eq!(scene.wharf.ok(["exec", "box", "/bin/hostname"]), "box.example.org");
}

#[test]
fn a_container_without_a_host_name_is_called_by_its_short_id() {
    let Some(scene) = Scene::new("short id") else { return };
    let Some(()) = sleeper(&scene, "box", &[]) else { return };
    let id = scene.wharf.inspect("box")["Id"].as_str().unwrap()[..12].to_owned();
    assert_eq!(cat(&scene, "box", "/etc/hostname"), id);
    assert!(cat(&scene, "box", "/etc/hosts").contains(&id));
}

#[test]
fn a_container_asks_the_server_on_its_own_loopback() {
    let Some(scene) = Scene::new("resolv") else { return };
    let Some(()) = sleeper(&scene, "box", &[]) else { return };
    let text = cat(&scene, "box", "/etc/resolv.conf");
    let servers: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
    assert_eq!(servers, ["127.0.0.11"], "{text}");
}

#[test]
fn the_interface_is_eth0_with_default_routes_in_both_families() {
    let Some(scene) = Scene::new("eth0") else { return };
    scene.wharf.ok(["run", "-d", "--name", "web", "wharf/whoami"]);
    let inside = scene.wharf.container("web").unwrap();
    assert_eq!(inside.interfaces().unwrap(), ["eth0", "lo"]);
    let seen = inside.snapshot().unwrap();
    for (field, everything) in [("Gateway", "0.0.0.0/0"), ("IPv6Gateway", "::/0")] {
        let line = format!("{everything} eth0 Some({})", scene.address("web", field));
        assert!(seen.section("routes").iter().any(|it| it.starts_with(&line)), "{line}: {seen}");
    }
    for (field, prefix) in
        [("IPAddress", "IPPrefixLen"), ("GlobalIPv6Address", "GlobalIPv6PrefixLen")]
    {
        let settings = &scene.wharf.inspect("web")["NetworkSettings"];
        let line = format!("eth0 {}/{}", settings[field].as_str().unwrap(), settings[prefix]);
        assert!(seen.section("addresses").contains(&line), "{line}: {seen}");
    }
}

#[test]
fn a_container_on_an_ipv4_network_has_no_ipv6() {
    let Some(scene) = Scene::new("narrow") else { return };
    scene.wharf.ok(["network", "create", "narrow"]);
    scene.wharf.ok(["run", "-d", "--name", "web", "--network", "narrow", "wharf/whoami"]);
    let seen = scene.wharf.container("web").unwrap().snapshot().unwrap();
    let six = seen
        .section("addresses")
        .iter()
        .any(|it| it.starts_with("eth0 ") && it.matches(':').count() > 1);
    assert!(!six, "{seen}");
    assert_eq!(scene.address("web", "GlobalIPv6Address"), "");
}

#[test]
fn neighbours_reach_each_other_directly() {
    let Some(scene) = Scene::new("neighbours") else { return };
    for name in ["web", "client"] {
        scene.wharf.ok(["run", "-d", "--name", name, "wharf/whoami"]);
        scene.wharf.serving(name, 80).unwrap();
    }
    let client = scene.wharf.container("client").unwrap();
    for field in ["IPAddress", "GlobalIPv6Address"] {
        let at = std::net::SocketAddr::new(scene.address("web", field).parse().unwrap(), 80);
        let seen = client.http_get(&at.to_string(), "/api").unwrap().json().unwrap();
        let from: std::net::SocketAddr = seen["remoteAddr"].as_str().unwrap().parse().unwrap();
        assert_eq!(from.ip().to_string(), scene.address("client", field));
    }
}
