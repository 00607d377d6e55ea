use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event;
use crate::published::{DockerEntry, PodmanEntry};

fn decoded(value: &Value, engine: Engine, drivers: &Value) -> Result<Found> {
    let inspected: Inspected = serde_json::from_value(value.clone()).unwrap();
    let drivers: Vec<NetworkEntry> = serde_json::from_value(drivers.clone()).unwrap();
    let sandbox = inspected.pid().map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    inspected.found(engine, false, &drivers, sandbox)
}

fn container(networks: &Value) -> Value {
    json!({
        "Id": "4f3c", "Name": "/web",
        "State": {"Status": "running", "Running": true, "Pid": 4711},
        "HostConfig": {"NetworkMode": "default"},
        "Config": {"ExposedPorts": {"443/udp": {}, "80/tcp": {}, "?": {}}},
        "NetworkSettings": {"SandboxKey": "/var/run/docker/netns/a1", "Networks": networks},
    })
}

fn endpoint(ipv4: &str, ipv6: &str) -> Value {
    json!({"IPAddress": ipv4, "GlobalIPv6Address": ipv6, "NetworkID": "76fa"})
}

#[test]
fn the_default_bridge_comes_first_then_the_first_by_name() {
    let networks = json!({
        "apple": endpoint("10.1.0.2", ""), "bridge": endpoint("172.17.0.2", "fd00::2"),
    });
    let found = decoded(&container(&networks), Engine::Docker, &json!([])).unwrap();
    assert_eq!(found.network.as_deref(), Some("bridge"));
    assert_eq!(found.ipv4, Some(Ipv4Addr::new(172, 17, 0, 2)));
    assert_eq!(found.ipv6, Some("fd00::2".parse().unwrap()));
    assert_eq!((found.name.as_str(), found.pid), ("web", Some(4711)));
    let exposed: Vec<String> = found.exposed.iter().map(ToString::to_string).collect();
    assert_eq!(exposed, ["80/tcp", "443/udp"]);

    let networks = json!({
        "pear": endpoint("10.2.0.2", ""), "fig": endpoint("", ""), "nut": endpoint("10.3.0.2", ""),
    });
    let found = decoded(&container(&networks), Engine::Docker, &json!([])).unwrap();
    assert_eq!(found.network.as_deref(), Some("nut"));
    assert_eq!(found.networks.len(), 3);
}

#[test]
fn networks_this_host_has_no_way_to_are_reached_from_inside() {
    let networks = json!({"lan": endpoint("192.0.2.7", ""), "bee": endpoint("10.2.0.2", "")});
    let drivers = json!([
        {"Name": "lan", "Driver": "macvlan", "Internal": false}, {"Name": "bee", "Driver": "bridge"},
    ]);
    let found = decoded(&container(&networks), Engine::Docker, &drivers).unwrap();
    assert_eq!(found.network.as_deref(), Some("bee"));

    let only = json!({"lan": endpoint("192.0.2.7", "")});
    let found = decoded(&container(&only), Engine::Docker, &drivers).unwrap();
    assert_eq!((found.ipv4, &found.network), (None, &None));
    let path = PathBuf::from("/proc/4711/ns/net");
    assert_eq!(found.target(None).inside(), Some(&path));
    assert_eq!(found.networks.first().unwrap().ipv4, Some(Ipv4Addr::new(192, 0, 2, 7)));
}

#[test]
fn addresses_of_a_rootless_engine_mean_nothing_here() {
    let value = container(&json!({"podman": endpoint("10.88.0.2", "")}));
    let inspected: Inspected = serde_json::from_value(value).unwrap();
    let found = inspected.found(Engine::Podman, true, &[], Some("/proc/1/ns/net".into())).unwrap();
    assert_eq!((found.ipv4, found.target(None).ipv4()), (None, None));
    assert!(found.target(None).inside().is_some());
}

#[test]
fn what_podman_leaves_empty_is_empty() {
    let mut value = container(&Value::Null);
    value["Config"]["ExposedPorts"] = Value::Null;
    value["HostConfig"]["NetworkMode"] = json!("none");
    value["NetworkSettings"]["SandboxKey"] = json!("");
    let found = decoded(&value, Engine::Podman, &json!([])).unwrap();
    assert_eq!((found.networks.len(), found.exposed.len(), found.ipv4), (0, 0, None));
    assert!(found.sandbox.is_some());
}

#[test]
fn a_container_on_the_hosts_network_has_no_sandbox() {
    let mut value = container(&json!({"host": endpoint("", "")}));
    value["HostConfig"]["NetworkMode"] = json!("host");
    let found = decoded(&value, Engine::Docker, &json!([])).unwrap();
    assert!(found.host_network && found.running);
    assert_eq!(found.sandbox, None);
}

#[test]
fn one_that_waits_for_its_restart_does_not_run() {
    let mut value = container(&json!({"bridge": endpoint("", "")}));
    value["State"]["Pid"] = json!(0);
    value["State"]["Restarting"] = json!(true);
    let found = decoded(&value, Engine::Docker, &json!([])).unwrap();
    assert_eq!((found.running, found.pid, found.sandbox), (false, None, None));
}

#[test]
fn ids_and_addresses_that_are_none_are_refused() {
    let mut value = container(&json!({"bridge": endpoint("172.17.0.256", "")}));
    let text = decoded(&value, Engine::Docker, &json!([])).unwrap_err().to_string();
    assert!(text.contains(r#"an IPv4 address is "172.17.0.256""#), "{text}");
    value["Id"] = json!("../../etc/passwd");
    assert!(decoded(&value, Engine::Docker, &json!([])).is_err());
    // Nobody's address is not an error: Docker 29 may write one for "none".
    let value = container(&json!({"bridge": endpoint("0.0.0.0", "::")}));
    assert_eq!(decoded(&value, Engine::Docker, &json!([])).unwrap().ipv4, None);
}

#[test]
fn published_ports_are_read_from_both_lists() {
    let docker = json!({"Id": "4f3c", "Names": ["/web"], "Ports": [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 443, "Type": "tcp"},
        {"IP": "x", "PrivatePort": 1, "PublicPort": 1, "Type": "tcp"},
        {"IP": "", "PrivatePort": 2, "PublicPort": 2, "Type": "dccp"}]});
    let entry: DockerEntry = serde_json::from_value(docker).unwrap();
    let ports = entry.published();
    let addresses: Vec<String> =
        ports.iter().map(|port| port.host_address.unwrap().to_string()).collect();
    assert_eq!(addresses, ["0.0.0.0", "::"]);

    let podman = json!({"Id": "4f3c", "Names": ["web"], "Ports": [
        {"host_ip": "", "container_port": 80, "host_port": 8000, "range": 3, "protocol": "tcp,udp"},
        {"host_ip": "", "container_port": 80, "host_port": 65535, "range": 9, "protocol": "tcp"}]});
    let entry: PodmanEntry = serde_json::from_value(podman).unwrap();
    let ports = entry.published();
    assert_eq!(ports.len(), 2);
    assert!(
        ports.iter().all(|port| port.host_ports == wharf_spec::PortRange::new(8000, 8002).unwrap())
    );
    assert!(ports.iter().all(|port| port.host_address.is_none() && port.name == "web"));
}

/// JSON that often has the names an engine uses, with anything behind them.
fn any_json() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 24] = [
        "Id",
        "Name",
        "State",
        "Running",
        "Pid",
        "HostConfig",
        "NetworkMode",
        "NetworkSettings",
        "SandboxKey",
        "Networks",
        "IPAddress",
        "GlobalIPv6Address",
        "Config",
        "ExposedPorts",
        "Type",
        "Action",
        "Actor",
        "ID",
        "Attributes",
        "container",
        "Ports",
        "PublicPort",
        "host_port",
        "range",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::sample::select(vec!["container", "network", "start", "host", "10.0.0.2", "4f3c"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 12, |inner| {
        let name = prop_oneof![
            proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
            any::<String>(),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(name, inner, 0..12)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn read_as_everything(bytes: &[u8]) {
    for engine in [Engine::Docker, Engine::Podman] {
        if let Ok(inspected) = serde_json::from_slice::<Inspected>(bytes) {
            let _any = (inspected.has_own_networks(), inspected.sandbox_key(), inspected.pid());
            let _read = inspected.found(engine, false, &[], None);
        }
        let _event = event::decode(engine, bytes);
    }
    let _networks = serde_json::from_slice::<Vec<NetworkEntry>>(bytes);
    let _docker = serde_json::from_slice::<DockerEntry>(bytes).map(DockerEntry::published);
    let _podman = serde_json::from_slice::<PodmanEntry>(bytes).map(PodmanEntry::published);
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(value in any_json()) {
        read_as_everything(value.to_string().as_bytes());
    }

    /// Values in place of others, so that most of the answer is right.
    #[test]
    fn no_answer_with_a_fault_in_it_makes_it_panic(
        place in proptest::sample::select(vec![
            "/Id", "/Name", "/State", "/State/Pid", "/HostConfig", "/NetworkSettings",
            "/NetworkSettings/Networks", "/NetworkSettings/Networks/bridge",
            "/NetworkSettings/Networks/bridge/IPAddress", "/Config/ExposedPorts",
        ]),
        value in any_json(),
    ) {
        let mut answer = container(&json!({"bridge": endpoint("172.17.0.2", "")}));
        *answer.pointer_mut(place).unwrap() = value;
        read_as_everything(answer.to_string().as_bytes());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_as_everything(&bytes);
    }
}
