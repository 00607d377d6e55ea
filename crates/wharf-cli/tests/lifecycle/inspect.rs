//! `wharf inspect`, with Docker's field names.

use serde_json::{Value, json};

use super::site::Site;

#[test]
fn inspect_tells_everything_in_dockers_words() {
    let Some(site) = Site::new("inspect") else { return };
    let flags = [
        "-d",
        "--name",
        "box",
        "-p",
        "127.0.0.1:8080:80",
        "--expose",
        "81",
        "-e",
        "A=1",
        "-w",
        "/srv",
        "-u",
        "alice",
        "-h",
        "inside",
        "-v",
        "/data",
    ];
    let id = site.ok(&flags, &["sleep", "1000"]);
    let found = site.wharf.inspect("box");
    let at = |path: &str| found.pointer(path).unwrap_or_else(|| panic!("{path} in {found:#}"));
    for (path, value) in [
        ("/Id", json!(id)),
        ("/Name", json!("/box")),
        ("/Path", json!("sleep")),
        ("/Args", json!(["1000"])),
        ("/State/Status", json!("running")),
        ("/State/Running", json!(true)),
        ("/State/ExitCode", json!(0)),
        ("/State/Error", json!("")),
        ("/State/FinishedAt", json!("0001-01-01T00:00:00Z")),
        ("/Config/Hostname", json!("inside")),
        ("/Config/User", json!("alice")),
        ("/Config/WorkingDir", json!("/srv")),
        ("/Config/Image", json!(site.image())),
        ("/Config/Cmd", json!(["sleep", "1000"])),
        ("/HostConfig/AutoRemove", json!(false)),
        ("/HostConfig/NetworkMode", json!("wharf")),
        ("/NetworkSettings/Ports/80~1tcp", json!([{"HostIp": "127.0.0.1", "HostPort": "8080"}])),
        ("/NetworkSettings/Ports/81~1tcp", Value::Null),
        ("/Mounts/0/Destination", json!("/data")),
    ] {
        assert_eq!(*at(path), value, "{path}");
    }
    assert!(at("/Config/Env").as_array().unwrap().contains(&json!("A=1")));
    assert!(at("/Config/ExposedPorts").get("81/tcp").is_some());
    let pid = at("/State/Pid").as_u64().unwrap();
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(command, "sleep\x001000\0");
    for path in ["/Created", "/State/StartedAt"] {
        assert!(at(path).as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{path}");
    }
    for path in ["/LogPath", "/HostnamePath", "/HostsPath", "/ResolvConfPath"] {
        assert!(std::fs::exists(at(path).as_str().unwrap()).unwrap(), "{path}");
    }
    let settings = at("/NetworkSettings");
    let own = site.exec("box", "ip -o addr show dev eth0");
    for key in ["IPAddress", "GlobalIPv6Address"] {
        let address = settings[key].as_str().unwrap();
        let length = &settings
            [key.replace("IPAddress", "IPPrefixLen").replace("IPv6Address", "IPv6PrefixLen")];
        assert!(own.contains(&format!("{address}/{length}")), "{address}/{length} in {own}");
        assert_eq!(settings["Networks"]["wharf"][key], address);
    }
    let mac = settings["MacAddress"].as_str().unwrap();
    assert_eq!(site.exec("box", "cat /sys/class/net/eth0/address"), mac);
    let route = site.exec("box", "ip route; ip -6 route");
    for key in ["Gateway", "IPv6Gateway"] {
        let gateway = settings[key].as_str().unwrap();
        assert!(route.contains(&format!("default via {gateway}")), "{gateway} in {route}");
    }
}

#[test]
fn inspect_of_what_has_ended_has_its_code_and_no_ports() {
    let Some(site) = Site::new("inspect ended") else { return };
    site.ok(&["-d", "--name", "box", "-p", "8080:80"], &["sh", "-c", "exit 3"]);
    site.becomes("box", "exited");
    let found = site.wharf.inspect("box");
    assert_eq!(found["State"]["Status"], "exited");
    assert_eq!(found["State"]["Running"], false);
    assert_eq!((&found["State"]["Pid"], &found["State"]["ExitCode"]), (&json!(0), &json!(3)));
    let finished = found["State"]["FinishedAt"].as_str().unwrap();
    assert!(finished.parse::<jiff::Timestamp>().is_ok());
    assert_eq!(found["NetworkSettings"]["Ports"], json!({}));

    let both = site.wharf.run(["inspect", "box", "nothing"]).unwrap();
    assert_eq!(both.code(), 1);
    assert!(both.stderr.contains("no such container, image, network or volume: nothing"));
    let printed: Value = serde_json::from_str(&both.stdout).unwrap();
    assert_eq!(printed.as_array().unwrap().len(), 1);
    // Images and networks go by the same verb.
    let others: Value =
        serde_json::from_str(&site.wharf.ok(["inspect", "wharf/whoami", "wharf"])).unwrap();
    assert_eq!(others.as_array().unwrap().len(), 2);
}
