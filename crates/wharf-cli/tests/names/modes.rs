//! Containers on no network, on the host's, and on another container's.

use super::ask::{A, ask};
use super::site::Site;

fn netns(site: &Site, name: &str) -> String {
    let pid = site.wharf.inspect(name)["State"]["Pid"].as_u64().unwrap();
    std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn none_is_loopback_alone() {
    let Some(site) = Site::new("none") else { return };
    let before = site.host.interfaces().unwrap();
    let inside = site.sleeper("alone", &["--network", "none", "--add-host", "db:192.0.2.1"]);
    assert_eq!(inside.interfaces().unwrap(), ["lo"]);
    assert_eq!(site.exec("alone", "ping -c 1 127.0.0.1 | grep -c ' 0% packet loss'"), "1");
    assert_eq!(site.exec("alone", "cat /etc/resolv.conf"), "search lan.example");
    assert!(site.exec("alone", "cat /etc/hosts").ends_with("192.0.2.1\tdb"));
    assert_eq!(site.host.interfaces().unwrap(), before, "no bridge is needed for it");
    let found = site.wharf.inspect("alone");
    assert_eq!(found["HostConfig"]["NetworkMode"], "none");
    assert_eq!(found["NetworkSettings"]["Networks"], serde_json::json!({}));
    assert_eq!(site.wharf.listed("alone").unwrap()["networks"], serde_json::json!(["none"]));
    site.wharf.ok(["restart", "-t", "0", "alone"]);
    site.refused(&["publish", "alone", "8080:80"], 1, "is on no network: `wharf network connect");
    site.wharf.ok(["rm", "-f", "alone"]);
}

#[test]
fn host_is_the_hosts_own_network() {
    let Some(site) = Site::new("host") else { return };
    site.sleeper("web", &["--network", "host"]);
    let id = site.host.netns().identity().unwrap();
    assert_eq!(netns(&site, "web"), format!("net:[{id}]"));
    let own = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    assert_eq!(site.exec("web", "hostname; cat /etc/hostname"), format!("{own}\n{own}"));
    let resolvers = std::fs::read_to_string(&site.resolv_conf).unwrap();
    assert_eq!(site.exec("web", "cat /etc/resolv.conf"), resolvers.trim_end());
    site.exec("web", "httpd -p 8099 -h /srv");
    site.eventually("its page", || site.host.http_get("127.0.0.1:8099", "/greeting").ok());
    assert_eq!(site.wharf.listed("web").unwrap()["networks"], serde_json::json!(["host"]));
    site.refused(&["publish", "web", "8080:80"], 1, "is on the host's own network");
    site.refused(&["network", "connect", "wharf", "web"], 1, "is on the host's own network");
    // The daemon that comes after one that was killed finds nothing to mend.
    site.wharf.kill9("daemon").unwrap();
    assert_eq!(site.wharf.state("web").as_deref(), Some("running"));
    site.wharf.ok(["stop", "-t", "0", "web"]);
    assert_eq!(site.host.interfaces().unwrap(), ["lo"]);
}

#[test]
fn a_container_shares_the_network_of_another() {
    let Some(site) = Site::new("shared") else { return };
    let web = ["--hostname", "box", "--add-host", "db:192.0.2.1", "-p", "8080:80"];
    site.sleeper("web", &web);
    let other = site.sleeper("side", &["--network", "container:web"]);
    assert_eq!(netns(&site, "side"), netns(&site, "web"));
    for file in ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"] {
        let read = |name: &str| site.exec(name, &format!("cat {file}"));
        assert_eq!(read("side"), read("web"), "{file}");
    }
    assert_eq!(site.exec("side", "hostname"), "box");
    assert_eq!(ask(&other, "web", A).data, [site.ip("web", "wharf")]);
    // What one of them listens on is published by the other's ports.
    site.exec("side", "httpd -p 80 -h /srv");
    site.eventually("its page", || site.host.http_get("127.0.0.1:8080", "/greeting").ok());
    let id = site.wharf.inspect("web")["Id"].as_str().unwrap().to_owned();
    let mode = site.wharf.inspect("side")["HostConfig"]["NetworkMode"].clone();
    assert_eq!(mode, format!("container:{id}"));
    site.refused(&["publish", "side", "8081:80"], 1, "publish on that one");
    site.wharf.kill9("daemon").unwrap();
    site.wharf.ok(["ps"]);
    assert_eq!(ask(&other, "web", A).data, [site.ip("web", "wharf")]);
    // It cannot start without the other, and follows it to its next network namespace.
    site.wharf.ok(["stop", "-t", "0", "side", "web"]);
    site.refused(&["start", "side"], 1, "cannot join network of a non running container: web");
    site.wharf.ok(["start", "web"]);
    site.wharf.ok(["start", "side"]);
    assert_eq!(netns(&site, "side"), netns(&site, "web"));
    site.wharf.ok(["rm", "-f", "web"]);
    assert_eq!(site.wharf.state("side").as_deref(), Some("running"));
    site.refused(&["restart", "-t", "0", "side"], 1, "which is no more");
    site.wharf.ok(["rm", "-f", "side"]);
}

#[test]
fn what_a_mode_cannot_honour_is_refused() {
    let Some(site) = Site::new("refused") else { return };
    site.sleeper("web", &[]);
    let before = site.wharf.snapshot().unwrap();
    let rows: &[(&[&str], &str)] = &[
        (&["--network", "host", "-p", "80"], "listens on the host's own addresses"),
        (&["--network", "none", "-P"], "the container has no way in"),
        (&["--network", "container:web", "-p", "80"], "whose network it shares"),
        (&["--network", "container:web", "-h", "x"], "hostname and the network mode"),
        (&["--network", "container:web", "--dns", "192.0.2.1"], "dns and the network mode"),
        (&["--network", "container:web", "--add-host", "a:192.0.2.1"], "custom host-to-IP mapping"),
        (&["--network", "container:web", "--expose", "80"], "port exposing"),
        (
            &["--network", "container:web", "--sysctl", "net.core.somaxconn=9"],
            "settings of a network",
        ),
        (&["--network", "host", "--network-alias", "a"], "network-scoped aliases"),
        (&["--network", "none", "--ip", "10.0.0.9"], "user specified IP address"),
        (&["--network", "none", "--network", "wharf"], "other networks"),
        (&["--network", "wharf", "--network", "host"], "\"host\" stands alone"),
        (&["--network", "container:nosuch"], "no such container: nosuch"),
        (&["--network", "container:"], "no such container"),
    ];
    for (flags, text) in rows {
        site.refused(&site.line(flags), 125, text);
    }
    wharf_lab::assert_same(&before, &site.wharf.snapshot().unwrap());
    assert_eq!(site.wharf.json(["ps", "-a"]).as_array().unwrap().len(), 1);
}
