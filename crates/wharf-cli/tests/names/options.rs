//! What a container is told of names.

use super::ask::{A, ask};
use super::site::Site;

fn file(site: &Site, name: &str, file: &str) -> String {
    site.exec(name, &format!("cat /etc/{file}"))
}

#[test]
fn a_container_asks_our_server_with_the_hosts_settings() {
    let Some(site) = Site::new("resolv.conf") else { return };
    site.sleeper("box", &[]);
    let expected = "nameserver 127.0.0.11\nsearch lan.example\noptions ndots:0";
    assert_eq!(file(&site, "box", "resolv.conf"), expected);
    let flags = [
        "--dns",
        "192.0.2.1",
        "--dns",
        "2001:db8::1",
        "--dns-search",
        "a.example",
        "--dns-search",
        "b.example",
        "--dns-option",
        "timeout:1",
        "--dns-opt",
        "ndots:2",
    ];
    site.sleeper("told", &flags);
    let expected = "nameserver 127.0.0.11\nsearch a.example b.example\noptions timeout:1 ndots:2";
    assert_eq!(file(&site, "told", "resolv.conf"), expected);
    let host = &site.wharf.inspect("told")["HostConfig"];
    assert_eq!(host["Dns"], serde_json::json!(["192.0.2.1", "2001:db8::1"]));
    assert_eq!(host["DnsSearch"], serde_json::json!(["a.example", "b.example"]));
    assert_eq!(host["DnsOptions"], serde_json::json!(["timeout:1", "ndots:2"]));
    site.sleeper("plain", &["--dns-search", "."]);
    assert_eq!(file(&site, "plain", "resolv.conf"), "nameserver 127.0.0.11\noptions ndots:0");
    site.sleeper("host", &["--network", "host", "--dns", "192.0.2.1"]);
    assert_eq!(file(&site, "host", "resolv.conf"), "nameserver 192.0.2.1\nsearch lan.example");
}

#[test]
fn hosts_are_added_and_the_host_itself_has_a_name() {
    let Some(site) = Site::new("add-host") else { return };
    let flags = [
        "--add-host",
        "db:192.0.2.5",
        "--add-host",
        "db6=2001:db8::5",
        "--add-host",
        "host.docker.internal:host-gateway",
        "--hostname",
        "box",
        "--domainname",
        "example.org",
    ];
    site.sleeper("box", &flags);
    let hosts = file(&site, "box", "hosts");
    let place = site.place("box", "wharf");
    let of = |field: &str| place[field].as_str().unwrap().to_owned();
    for line in [
        "192.0.2.5\tdb".to_owned(),
        "2001:db8::5\tdb6".to_owned(),
        format!("{}\thost.docker.internal", of("Gateway")),
        format!("{}\thost.docker.internal", of("IPv6Gateway")),
        format!("{}\tbox.example.org box", of("IPAddress")),
    ] {
        assert!(hosts.lines().any(|it| it == line), "{line} is not in\n{hosts}");
    }
    assert_eq!(site.exec("box", "hostname; cat /proc/sys/kernel/domainname"), "box\nexample.org");
    let found = site.wharf.inspect("box");
    assert_eq!(found["Config"]["Domainname"], "example.org");
    assert_eq!(found["HostConfig"]["ExtraHosts"][0], "db:192.0.2.5");
}

#[test]
fn what_cannot_be_written_down_is_refused() {
    let Some(site) = Site::new("refused names") else { return };
    site.wharf.ok(["network", "create", "--internal", "--gateway-mode", "isolated", "cell"]);
    let rows: &[(&[&str], &str)] = &[
        (&["--dns", "dns.example"], "invalid --dns \"dns.example\""),
        (&["--dns-search", "a b"], "invalid --dns-search"),
        (&["--dns-option", "a\nnameserver 192.0.2.1"], "invalid --dns-option"),
        (&["--add-host", "db"], "invalid --add-host \"db\": use NAME:ADDRESS"),
        (&["--network-alias", "a b"], "invalid --network-alias"),
        (&["--domainname", "x+y"], "invalid --domainname"),
        (&["--link", "db:database"], "use --network with the same network for both"),
        (&["--network", "name=blue,x=y"], "\"x=y\" is not understood"),
        (
            &["--network", "cell", "--add-host", "host:host-gateway"],
            "the host has no address on network \"cell\"",
        ),
    ];
    for (flags, text) in rows {
        site.refused(&site.line(flags), 125, text);
    }
    assert_eq!(site.wharf.json(["ps", "-a"]).as_array().unwrap().len(), 0);
}

#[test]
fn questions_are_counted() {
    let Some(site) = Site::new("counted") else { return };
    let _stub = site.stub();
    let client = site.sleeper("client", &[]);
    ask(&client, "client", A);
    ask(&client, "outside.example", A);
    let text = site.metrics();
    for line in [
        "wharf_name_questions{outcome=\"answered\"} 1",
        "wharf_name_questions{outcome=\"forwarded\"} 1",
        "wharf_name_questions{outcome=\"refused\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
