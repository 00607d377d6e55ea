//! Several networks, from the beginning and while a container runs.

use super::ask::{A, NO_SUCH_NAME, addresses, ask};
use super::site::Site;

fn networks(site: &Site) {
    for (name, subnet) in [("blue", "10.77.0.0/24"), ("red", "10.78.0.0/24")] {
        site.wharf.ok(["network", "create", "--subnet", subnet, name]);
    }
}

#[test]
fn a_container_is_on_several_networks_from_the_beginning() {
    let Some(site) = Site::new("several") else { return };
    let _stub = site.stub();
    networks(&site);
    let flags = ["--network", "blue", "--network", "name=red,alias=db,ip=10.78.0.9"];
    let both = site.sleeper("both", &flags);
    let blue = site.sleeper("in-blue", &["--network", "blue"]);
    let red = site.sleeper("in-red", &["--network", "red"]);
    assert_eq!(both.interfaces().unwrap(), ["eth0", "eth1", "lo"]);
    assert_eq!(ask(&red, "db", A).data, ["10.78.0.9"]);
    assert_eq!(ask(&red, "both", A).data, ["10.78.0.9"]);
    assert_eq!(ask(&blue, "db", A).code, NO_SUCH_NAME);
    assert_eq!(ask(&blue, "both", A).data, [site.ip("both", "blue")]);
    assert_eq!(ask(&both, "in-red", A).data, [site.ip("in-red", "red")]);
    assert_eq!(ask(&both, "in-blue", A).data, [site.ip("in-blue", "blue")]);
    let routes = site.exec("both", "ip -4 route | grep -c default");
    assert_eq!(routes, "1", "one way out");
    assert!(site.exec("both", "ip -4 route").contains("default via 10.77.0.1 dev eth0"));
    site.exec("both", &format!("ping -c 1 -W 2 {}", site.ip("in-red", "red")));
    let listed = site.wharf.listed("both").unwrap()["networks"].clone();
    assert_eq!(listed, serde_json::json!(["blue", "red"]));
    site.refused(&["network", "rm", "red"], 1, "network \"red\" has containers: ");
    // It has the same places after a restart, and a killed daemon.
    site.wharf.ok(["restart", "-t", "0", "both"]);
    site.wharf.kill9("daemon").unwrap();
    site.wharf.ok(["ps"]);
    assert_eq!(ask(&red, "both", A).data, ["10.78.0.9"]);
    let refused = ["--network", "blue", "--network", "blue"];
    site.refused(&site.line(&refused), 125, "is on network blue already: once is enough");
}

#[test]
fn a_running_container_joins_and_leaves_a_network() {
    let Some(site) = Site::new("joins") else { return };
    let _stub = site.stub();
    networks(&site);
    let web = site.sleeper("web", &["--network", "blue", "-p", "8080:80"]);
    let red = site.sleeper("in-red", &["--network", "red"]);
    let before = site.wharf.snapshot().unwrap();
    assert_eq!(ask(&red, "web", A).code, NO_SUCH_NAME);
    let line = ["network", "connect", "--alias", "shop", "--ip", "10.78.0.50", "red", "web"];
    assert_eq!(site.wharf.ok(line), "");
    for name in ["web", "shop"] {
        assert_eq!(ask(&red, name, A).data, ["10.78.0.50"]);
    }
    assert_eq!(addresses(&web, "in-red"), [site.ip("in-red", "red")]);
    assert!(site.exec("web", "cat /etc/hosts").contains("10.78.0.50\t"));
    site.exec("in-red", "ping -c 1 -W 2 10.78.0.50");
    assert_eq!(site.place("web", "red")["Aliases"], serde_json::json!(["shop"]));
    site.refused(&["network", "connect", "red", "web"], 1, "once is enough");
    site.refused(&["network", "disconnect", "blue", "web"], 1, "go by network blue");
    site.refused(&["network", "connect", "nosuch", "web"], 1, "no such network: nosuch");
    site.wharf.ok(["network", "disconnect", "red", "web"]);
    assert_eq!(ask(&red, "web", A).code, NO_SUCH_NAME);
    assert_eq!(web.interfaces().unwrap(), ["eth0", "lo"]);
    assert!(!site.exec("web", "cat /etc/hosts").contains("10.78.0.50"));
    site.refused(&["network", "disconnect", "red", "web"], 1, "is not connected to network red");
    site.wharf.settles_to(&before, super::site::LIMIT).unwrap();
}

#[test]
fn the_way_out_moves_to_the_network_that_is_left() {
    let Some(site) = Site::new("way out") else { return };
    networks(&site);
    let web = site.sleeper("web", &["--network", "blue"]);
    site.wharf.ok(["network", "connect", "red", "web"]);
    site.wharf.ok(["network", "disconnect", "blue", "web"]);
    assert_eq!(web.interfaces().unwrap(), ["eth1", "lo"]);
    assert!(site.exec("web", "ip -4 route").contains("default via 10.78.0.1 dev eth1"));
    site.wharf.ok(["publish", "web", "8080:80"]);
    site.wharf.ok(["unpublish", "web", "--all"]);
    // Off the last one it has loopback alone, until it joins another.
    site.wharf.ok(["network", "disconnect", "red", "web"]);
    assert_eq!(web.interfaces().unwrap(), ["lo"]);
    site.wharf.ok(["restart", "-t", "0", "web"]);
    site.wharf.ok(["network", "connect", "blue", "web"]);
    let web = site.wharf.container("web").unwrap();
    assert_eq!(web.interfaces().unwrap(), ["eth0", "lo"]);
    assert_eq!(ask(&web, "web", A).data, [site.ip("web", "blue")]);
    assert!(site.exec("web", "ip -4 route").contains("default via 10.77.0.1 dev eth0"));
}

#[test]
fn a_container_that_does_not_run_joins_when_it_starts() {
    let Some(site) = Site::new("stopped") else { return };
    networks(&site);
    site.sleeper("web", &["--network", "blue"]);
    site.wharf.ok(["stop", "-t", "0", "web"]);
    site.wharf.ok(["network", "connect", "red", "web"]);
    let red = site.sleeper("in-red", &["--network", "red"]);
    site.wharf.ok(["start", "web"]);
    assert_eq!(ask(&red, "web", A).data, [site.ip("web", "red")]);
    site.wharf.ok(["rm", "-f", "web"]);
}
