//! Containers find each other.

use std::sync::Mutex;

use super::ask::{self, A, AAAA, NO_ERROR, NO_SUCH_NAME, PTR, addresses, ask, reverse};
use super::site::Site;

const MX: u16 = 15;

#[test]
fn a_container_is_found_by_name_short_id_alias_and_host_name_in_both_families() {
    let Some(site) = Site::new("found") else { return };
    site.wharf.ok(["network", "create", "--ipv6", "blue"]);
    let flags = ["--network", "blue", "--network-alias", "db", "--hostname", "box.example.org"];
    site.sleeper("web", &flags);
    let client = site.sleeper("client", &["--network", "blue"]);
    let place = site.place("web", "blue");
    let at: Vec<String> = ["IPAddress", "GlobalIPv6Address"]
        .map(|field| place[field].as_str().unwrap().to_owned())
        .into();
    let id = site.wharf.inspect("web")["Id"].as_str().unwrap()[..12].to_owned();
    for name in ["web", "WEB", "web.", "web.blue", &id, "db", "box.example.org"] {
        assert_eq!(addresses(&client, name), at, "{name}");
    }
    let told = ask(&client, "web", A);
    assert_eq!((told.code, told.ttl, told.extended), (NO_ERROR, Some(0), false));
    assert_eq!(ask(&client, "web", MX).data, [""; 0]);
    assert_eq!(ask(&client, "web", MX).code, NO_ERROR);
    assert!(ask::ask_extended(&client, "web", A, 4096).extended);
    for address in &at {
        assert_eq!(ask(&client, &reverse(address), PTR).data, ["web.blue"]);
    }
    assert_eq!(place["DNSNames"], serde_json::json!(["web", id, "db", "box.example.org"]));
}

#[test]
fn a_real_resolver_library_finds_names() {
    let Some(site) = Site::new("library") else { return };
    let _stub = site.stub();
    site.sleeper("web", &["--network-alias", "www"]);
    let libraries = ["-v", "/usr:/usr:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro"];
    site.sleeper("client", &libraries);
    let at = site.ip("web", "wharf");
    for name in ["web", "www", "web.wharf"] {
        let found = site.exec("client", &format!("/usr/bin/getent ahostsv4 {name}"));
        assert!(found.starts_with(&format!("{at} ")), "{name}: {found}");
    }
    let found = site.exec("client", &format!("/usr/bin/getent hosts {at}"));
    assert!(found.ends_with(" web.wharf"), "{found}");
    let found = site.exec("client", "/usr/bin/getent ahostsv4 outside.example");
    assert!(found.starts_with("192.0.2.80 "), "{found}");
    // This one tries the host's domains behind every name without a dot.
    let found = site.exec("client", "nslookup -type=a web.");
    assert!(found.contains(&format!("Name:\tweb\nAddress: {at}")), "{found}");
}

#[test]
fn a_container_without_ipv6_has_no_ipv6_address_which_is_no_error() {
    let Some(site) = Site::new("narrow") else { return };
    let stub = site.stub();
    site.wharf.ok(["network", "create", "narrow"]);
    let web = site.sleeper("web", &["--network", "narrow"]);
    let told = ask(&web, "web", AAAA);
    assert_eq!((told.code, told.data), (NO_ERROR, vec![]));
    assert_eq!(stub.asked(), [""; 0], "the host's resolver has nothing to do with it");
}

#[test]
fn containers_of_other_networks_are_not_found() {
    let Some(site) = Site::new("isolation") else { return };
    let stub = site.stub();
    for network in ["blue", "red"] {
        site.wharf.ok(["network", "create", network]);
    }
    let blue = site.sleeper("web", &["--network", "blue"]);
    let red = site.sleeper("db", &["--network", "red"]);
    let default = site.sleeper("other", &[]);
    assert_eq!(addresses(&blue, "web"), [site.ip("web", "blue")]);
    for (inside, name) in [(&blue, "db"), (&red, "web"), (&red, "web.blue"), (&default, "db")] {
        assert_eq!(ask(inside, name, A).code, NO_SUCH_NAME, "{name}");
    }
    assert_eq!(stub.asked(), ["db", "web", "web.blue", "db"]);
    let back = reverse(&site.ip("web", "blue"));
    assert_eq!(ask(&red, &back, PTR).code, NO_SUCH_NAME);
}

#[test]
fn an_alias_of_several_is_spread_over_them() {
    let Some(site) = Site::new("spread") else { return };
    for name in ["one", "two", "three"] {
        site.sleeper(name, &["--network-alias", "all"]);
    }
    let client = site.sleeper("client", &[]);
    let mut expected = ["one", "two", "three"].map(|name| site.ip(name, "wharf"));
    expected.sort();
    let mut first = Vec::new();
    for _ in 0..3 {
        let mut told = ask(&client, "all", A).data;
        first.push(told[0].clone());
        told.sort();
        assert_eq!(told, expected);
    }
    first.sort();
    assert_eq!(first, expected, "each comes first in turn");
}

#[test]
fn a_long_answer_comes_whole_over_a_connection() {
    let Some(site) = Site::new("long") else { return };
    for number in 0..36 {
        site.wharf.ok([
            "create",
            "--name",
            &format!("n{number}"),
            "--network-alias",
            "many",
            "wharf/whoami",
        ]);
    }
    let names: Vec<String> = (0..36).map(|number| format!("n{number}")).collect();
    let mut line = vec!["start"];
    line.extend(names.iter().map(String::as_str));
    site.wharf.ok(line);
    let client = site.sleeper("client", &[]);
    let cut = ask(&client, "many", A);
    assert!(cut.cut && !cut.data.is_empty() && cut.data.len() < 36, "{cut:?}");
    let whole = ask::ask_tcp(&client, "many", A);
    assert_eq!((whole.cut, whole.data.len()), (false, 36));
    let extended = ask::ask_extended(&client, "many", A, 1232);
    assert_eq!((extended.cut, extended.data.len()), (false, 36));
}

#[test]
fn twenty_containers_at_a_time_find_each_other_from_their_first_moment() {
    let Some(site) = Site::new("twenty") else { return };
    site.wharf.ok(["network", "create", "blue"]);
    site.sleeper("hub", &["--network", "blue"]);
    let before = site.wharf.snapshot().unwrap();
    let hub = site.ip("hub", "blue");
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for number in 0..20 {
            let (site, hub, failures) = (&site, &hub, &failures);
            scope.spawn(move || {
                let name = format!("n{number}");
                let script = format!("nslookup -type=a hub. && nslookup -type=a {name}.");
                let mut line = site.line(&["--rm", "--name", &name, "--network", "blue"]);
                line.truncate(line.len() - 2);
                line.extend(["sh", "-c", &script]);
                let output = site.wharf.run(line).unwrap();
                if !output.is_success() || !output.stdout.contains(hub) {
                    failures.lock().unwrap().push(format!("{name}: {output:?}"));
                }
            });
        }
    });
    assert_eq!(failures.into_inner().unwrap(), [""; 0]);
    site.wharf.settles_to(&before, super::site::LIMIT).unwrap();
}

#[test]
fn what_is_no_question_does_no_harm() {
    let Some(site) = Site::new("nonsense") else { return };
    let web = site.sleeper("web", &[]);
    let socket = web.run(|| std::net::UdpSocket::bind("127.0.0.1:0")).unwrap().unwrap();
    socket.connect(ask::SERVER).unwrap();
    for length in [0, 1, 11, 12, 13, 600, 4_000, 9_000] {
        socket.send(&vec![0x5a; length]).unwrap();
    }
    let mut stream = web.tcp(ask::SERVER).unwrap();
    std::io::Write::write_all(&mut stream, &[0xff, 0xff, 1, 2, 3]).unwrap();
    assert_eq!(addresses(&web, "web")[0], site.ip("web", "wharf"));
}
