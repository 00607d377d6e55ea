//! What `ps`, `port` and `ports` say.

use serde_json::json;

use super::scene::Scene;

#[test]
fn ps_shows_ports_as_docker_does() {
    let Some(scene) = Scene::new("ps") else { return };
    scene.whoami(
        "web",
        ["-p", "8080:80", "-p", "9090-9092:9090-9092", "-p", "127.0.0.1:5353:53/udp"],
    );
    let column = scene.listed("web")["ports_text"].as_str().unwrap().to_owned();
    for part in [
        "0.0.0.0:9090-9092->9090-9092/tcp",
        "[::]:9090-9092->9090-9092/tcp",
        "0.0.0.0:8080->80/tcp",
        "[::]:8080->80/tcp",
        "127.0.0.1:5353->53/udp",
        "80/udp",
    ] {
        assert!(column.split(", ").any(|it| it == part), "{part} is not in {column}");
    }
    let table = scene.wharf.ok(["ps"]);
    let header = table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(header, "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES");
    assert!(
        table.contains(&column) && table.contains("wharf/whoami") && table.contains("Up "),
        "{table}"
    );
}

#[test]
fn ps_lists_documented_fields() {
    let Some(scene) = Scene::new("ps json") else { return };
    let id = scene.wharf.ok(["run", "-d", "--name", "web", "-p", "8080:80", "wharf/whoami"]);
    let listed = scene.listed("web");
    assert_eq!(listed["id"], id.as_str());
    assert_eq!((&listed["image"], &listed["state"]), (&json!("wharf/whoami"), &json!("running")));
    assert_eq!((&listed["command"], &listed["exit_code"]), (&json!("/wharf whoami"), &json!(null)));
    let created = listed["created"].as_str().unwrap();
    assert!(created.ends_with('Z') && created.contains('T'), "{created}");
    let host = json!({ "addresses": ["0.0.0.0", "::"], "ports": "8080" });
    let ports = json!([
        { "protocol": "tcp", "host": host, "container_ports": "80" },
        { "protocol": "udp", "host": null, "container_ports": "80" },
    ]);
    assert_eq!(listed["ports"], ports);
    assert_eq!(listed["networks"], json!(["wharf"]));
    scene.wharf.ok(["kill", "web"]);
    assert_eq!(scene.wharf.json(["ps"]), json!([]));
    let listed = scene.listed("web");
    assert_eq!((&listed["state"], &listed["exit_code"]), (&json!("exited"), &json!(137)));
    assert_eq!(listed["ports"], json!([]));
    assert_eq!(scene.wharf.ok(["ps", "-aq", "--no-trunc"]), id);
}

#[test]
fn port_prints_a_line_for_each_address() {
    let Some(scene) = Scene::new("port") else { return };
    scene.whoami("web", ["-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "7000-7001:53-54/udp"]);
    let all = "53/udp -> 0.0.0.0:7000\n53/udp -> [::]:7000\n54/udp -> 0.0.0.0:7001\n54/udp -> [::]:7001\n\
               80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:8081\n80/tcp -> [::]:8080";
    assert_eq!(scene.wharf.ok(["port", "web"]), all);
    assert_eq!(scene.wharf.ok(["port", "web", "80"]), "0.0.0.0:8080\n127.0.0.1:8081\n[::]:8080");
    assert_eq!(scene.wharf.ok(["port", "web", "54/UDP"]), "0.0.0.0:7001\n[::]:7001");
    let failed = scene.wharf.fails(["port", "web", "81"]);
    assert_eq!(failed.stderr.trim(), "wharf: no public port '81' published for web");
    scene.whoami("silent", []);
    assert_eq!(scene.wharf.ok(["port", "silent"]), "");
}

#[test]
fn ports_lists_documented_fields() {
    let Some(scene) = Scene::new("ports json") else { return };
    assert_eq!(scene.wharf.json(["ports"]), json!([]));
    scene.whoami("web", ["-p", "8000-8002:80-82", "-p", "127.0.0.1:5353:53/udp,via=relay"]);
    let listed = scene.wharf.json(["ports"]);
    let [udp, tcp] = listed.as_array().unwrap().as_slice() else { panic!("{listed:#}") };
    assert_eq!((&tcp["target_name"], &tcp["protocol"]), (&json!("web"), &json!("tcp")));
    assert_eq!(tcp["host"], json!({ "addresses": ["0.0.0.0", "::"], "ports": "8000-8002" }));
    assert_eq!((&tcp["planes"], &tcp["source"]), (&json!(["nft", "ebpf"]), &json!("client")));
    assert_eq!((&tcp["state"], &udp["state"]), (&json!("active"), &json!("active")));
    let inspected = scene.wharf.inspect("web");
    let settings = &inspected["NetworkSettings"];
    let addresses = json!([settings["IPAddress"], settings["GlobalIPv6Address"]]);
    assert_eq!(tcp["target"], json!({ "addresses": addresses, "ports": "80-82" }));
    assert_eq!(udp["host"], json!({ "addresses": ["127.0.0.1"], "ports": "5353" }));
    assert_eq!((&udp["planes"], &udp["source"]), (&json!(["relay"]), &json!("gateway")));
    assert!(tcp["id"].is_string() && tcp["id"] != udp["id"]);
    assert_eq!(tcp["container_id"], inspected["Id"]);
    let table = scene.wharf.ok(["ports"]);
    assert!(table.contains("0.0.0.0:8000-8002,[::]:8000-8002/tcp"), "{table}");
    let bindings = json!([{ "HostIp": "0.0.0.0", "HostPort": "8001" }, { "HostIp": "::", "HostPort": "8001" }]);
    assert_eq!(settings["Ports"]["81/tcp"], bindings);
    assert_eq!(settings["Ports"]["80/udp"], json!(null));
}
