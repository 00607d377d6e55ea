//! Names that are no container's go to the host's resolvers, or to those a container was given.

use super::ask::{
    self, A, NO_ERROR, NO_SUCH_NAME, PTR, SERVER_FAILURE, ask, ask_extended, ask_tcp, reverse,
};
use super::resolver::Resolver;
use super::site::{STUB, Site};

#[test]
fn a_resolver_on_the_hosts_loopback_is_asked_from_the_host() {
    let Some(site) = Site::new("loopback") else { return };
    let stub = site.stub();
    let client = site.sleeper("client", &[]);
    let told = ask(&client, "outside.example", A);
    assert_eq!((told.code, told.data, told.ttl), (NO_ERROR, vec!["192.0.2.80".into()], Some(60)));
    assert_eq!(ask(&client, "nosuch.example", A).code, NO_SUCH_NAME);
    assert_eq!(ask_tcp(&client, "outside.example", A).data, ["192.0.2.80"]);
    assert_eq!(ask(&client, &reverse("192.0.2.80"), PTR).code, NO_SUCH_NAME);
    assert_eq!(stub.asked()[..2], ["outside.example", "nosuch.example"]);
}

#[test]
fn the_hosts_file_is_followed() {
    let Some(site) = Site::new("followed") else { return };
    let _first = site.stub();
    let zone: [(&str, &[&str]); 1] = [("outside.example", &["192.0.2.81"])];
    let _second = Resolver::start(&site.host, "127.0.0.54", &zone);
    let client = site.sleeper("client", &[]);
    assert_eq!(ask(&client, "outside.example", A).data, ["192.0.2.80"]);
    std::fs::write(&site.resolv_conf, "nameserver 127.0.0.54\n").unwrap();
    assert_eq!(ask(&client, "outside.example", A).data, ["192.0.2.81"]);
    // The second stands in when the first is not there.
    let text = format!("nameserver 127.0.0.99\nnameserver {STUB}\n");
    std::fs::write(&site.resolv_conf, text).unwrap();
    assert_eq!(ask(&client, "outside.example", A).data, ["192.0.2.80"]);
}

#[test]
fn without_a_resolver_a_container_is_told_so_at_once() {
    let Some(site) = Site::new("nobody") else { return };
    let client = site.sleeper("client", &[]);
    let began = std::time::Instant::now();
    assert_eq!(ask(&client, "outside.example", A).code, SERVER_FAILURE);
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(ask(&client, "client", A).code, NO_ERROR);
}

#[test]
fn a_long_answer_of_others_is_cut_and_comes_whole_over_a_connection() {
    let Some(site) = Site::new("long outside") else { return };
    let many: Vec<String> = (1..=60).map(|last| format!("192.0.2.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let _stub = Resolver::start(&site.host, STUB, &[("many.example", &many)]);
    let client = site.sleeper("client", &[]);
    for told in [ask(&client, "many.example", A), ask_extended(&client, "many.example", A, 1232)] {
        assert!(told.cut, "{told:?}");
    }
    assert_eq!(ask_tcp(&client, "many.example", A).data, many);
}

#[test]
fn nothing_is_asked_outside_for_an_internal_network() {
    let Some(site) = Site::new("internal") else { return };
    let stub = site.stub();
    site.wharf.ok(["network", "create", "--internal", "vault"]);
    let inside = site.sleeper("safe", &["--network", "vault"]);
    assert_eq!(ask(&inside, "outside.example", A).code, SERVER_FAILURE);
    assert_eq!(ask(&inside, "safe", A).data, [site.ip("safe", "vault")]);
    assert_eq!(stub.asked(), [""; 0]);
}

#[test]
fn resolvers_of_its_own_are_asked_from_within_the_container() {
    let Some(site) = Site::new("own resolver") else { return };
    let stub = site.stub();
    // One on the container's own loopback, as when a resolver runs in it.
    let inside = site.sleeper("own", &["--dns", "127.0.0.1"]);
    let zone: [(&str, &[&str]); 1] = [("outside.example", &["192.0.2.99"])];
    let own = Resolver::start(&inside, "127.0.0.1", &zone);
    assert_eq!(ask(&inside, "outside.example", A).data, ["192.0.2.99"]);
    assert_eq!(ask_tcp(&inside, "outside.example", A).data, ["192.0.2.99"]);
    assert_eq!(ask(&inside, "own", A).data, [site.ip("own", "wharf")]);
    assert_eq!(stub.asked(), [""; 0]);
    assert_eq!(own.asked().len(), 3);
    // One in another container of a network without a way out.
    site.wharf.ok(["network", "create", "--internal", "--subnet", "10.77.0.0/24", "vault"]);
    let server = site.sleeper("dns", &["--network", "vault", "--ip", "10.77.0.53"]);
    let _dns = Resolver::start(&server, "10.77.0.53", &zone);
    let client = site.sleeper("client", &["--network", "vault", "--dns", "10.77.0.53"]);
    assert_eq!(ask(&client, "outside.example", A).data, ["192.0.2.99"]);
    assert_eq!(ask::addresses(&client, "dns"), ["10.77.0.53"]);
}
