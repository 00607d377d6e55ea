//! Options of a live publication: whoever is still allowed stays connected, and nobody else.

use std::io::Read;

use wharf_lab::{Host, wait};

use super::scene::{LIMIT, Line, Scene, is_shut_out};

/// A published server of the test's own, and a second client with another address.
fn server(name: &str, flags: &[&str]) -> Option<(Scene, std::net::TcpListener, Host)> {
    let scene = Scene::new(name)?;
    scene.whoami("web", []);
    let listener = scene.listens("web", 7000);
    let other = scene.neighbour("other", &["10.2.0.2/24"], &["10.2.0.1/24"]);
    scene.wharf.publish("web", &["7000:7000"], flags);
    Some((scene, listener, other))
}

/// `via`: the plane that carries what is allowed and what is not.
fn an_allow_list_cuts_those_it_leaves_out(via: &str) {
    let Some((scene, listener, other)) = server(via, &["--via", via]) else { return };
    let mut near = Line::open(&scene.remote, "10.1.0.2:7000", &listener);
    let mut far = Line::open(&other, "10.2.0.2:7000", &listener);
    scene.wharf.publish("web", &["7000:7000"], &["--allow", "10.1.0.0/24"]);
    assert!(near.carries(), "who is still allowed was cut off");
    assert!(!far.carries(), "who is no longer allowed still talks");
    assert!(is_shut_out(&other, "10.2.0.2:7000"));
    let _again = Line::open(&scene.remote, "10.1.0.2:7000", &listener);
    // Without the list, everybody may come again, and the first line was there all the time.
    scene.wharf.publish("web", &["7000:7000"], &["--allow", "any"]);
    let _back = Line::open(&other, "10.2.0.2:7000", &listener);
    assert!(near.carries());
}

#[test]
fn what_is_not_said_again_stays() {
    let Some((scene, _listener, other)) = server("unsaid", &["--allow", "10.1.0.0/24"]) else {
        return;
    };
    scene.wharf.publish("web", &["7000:7000"], &["--via", "relay"]);
    let options = || scene.wharf.ports_at("7000")[0]["options"].as_str().unwrap().to_owned();
    assert_eq!(options(), "via=relay,allow=10.1.0.0/24");
    assert!(is_shut_out(&other, "10.2.0.2:7000"), "a change of plane has opened the port");
    scene.whoami("green", []);
    scene.wharf.publish("green", &["7000:80,source=gateway"], &["--replace", "web"]);
    assert_eq!(options(), "via=relay,source=gateway,allow=10.1.0.0/24");
    scene.wharf.publish("green", &["7000:80,via=auto"], &["--source", "auto", "--allow", "any"]);
    assert_eq!(options(), "");
}

#[test]
fn an_allow_list_cuts_those_it_leaves_out_in_the_relay() {
    an_allow_list_cuts_those_it_leaves_out("relay");
}

#[test]
fn an_allow_list_cuts_those_it_leaves_out_in_the_kernel() {
    an_allow_list_cuts_those_it_leaves_out("auto");
}

#[test]
fn the_same_host_port_leads_to_another_port_of_the_container() {
    let Some(scene) = Scene::new("other port") else { return };
    let inside = scene.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
    let _teller = inside.tell(&[81]).unwrap();
    let prober = scene.remote.probe("udp", "10.1.0.2:8080", 100).unwrap();
    scene.wharf.publish("web", &["8080:81", "8080:81/udp"], &[]);
    for (client, address) in scene.ways() {
        for proto in ["tcp", "udp"] {
            let told = client.told(proto, &format!("{address}:8080")).unwrap();
            assert_eq!(told.port, Some(81), "{} {proto} {address}", client.name());
        }
    }
    let seen = prober.stop().unwrap();
    assert_eq!(seen.failed, 0, "{seen}");
    assert_eq!(scene.published(), ["8080/tcp", "8080/udp"]);
}

#[test]
fn a_list_that_leaves_the_host_out_holds_for_it_too() {
    let Some(scene) = Scene::new("host left out") else { return };
    scene.whoami("web", ["-p", "8080:80,allow=10.1.0.1/32", "-p", "8080:80/udp,allow=10.1.0.1/32"]);
    for proto in ["tcp", "udp"] {
        assert_eq!(scene.remote.told(proto, "10.1.0.2:8080").unwrap().hostname, "web");
        for address in ["127.0.0.1:8080", "[::1]:8080", "10.1.0.2:8080"] {
            assert!(scene.host.told(proto, address).is_err(), "{proto} {address}");
        }
    }
}

#[test]
fn a_change_of_planes_keeps_what_is_open() {
    let Some((scene, listener, _other)) = server("planes", &[]) else { return };
    let open = || {
        scene
            .ways()
            .map(|(client, address)| Line::open(client, &format!("{address}:7000"), &listener))
    };
    let mut first = open();
    scene.wharf.publish("web", &["7000:7000"], &["--via", "relay"]);
    let mut second = open();
    assert!(first.iter_mut().all(Line::carries), "what the kernel carried was cut");
    scene.wharf.publish("web", &["7000:7000"], &["--via", "auto"]);
    assert!(first.iter_mut().all(Line::carries), "what the kernel carried was cut");
    assert!(second.iter_mut().all(Line::carries), "what the relay carried was cut");
    assert_eq!(scene.wharf.ports_at("7000").len(), 1);
}

#[test]
fn a_change_of_the_source_is_for_new_connections() {
    let Some(scene) = Scene::new("source") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let seen = || scene.remote.told("tcp", "10.1.0.2:8080").unwrap().source.to_string();
    assert_eq!(seen(), "10.1.0.1");
    scene.wharf.publish("web", &["8080:80"], &["--source", "gateway"]);
    assert_eq!(seen(), scene.wharf.network_setting("web", "Gateway"));
    scene.wharf.publish("web", &["8080:80"], &["--source", "client"]);
    assert_eq!(seen(), "10.1.0.1");
}

#[test]
fn a_proxy_protocol_header_begins_with_the_next_connection() {
    let Some((scene, listener, _other)) = server("header", &["--via", "relay"]) else { return };
    let mut line = Line::open(&scene.remote, "10.1.0.2:7000", &listener);
    scene.wharf.publish("web", &["7000:7000"], &["--via", "relay", "--proxy-protocol", "v1"]);
    assert!(line.carries(), "an open connection gets no header in its middle");
    let _near = scene.remote.tcp("10.1.0.2:7000").unwrap();
    let accepted = wait::until(LIMIT, "the other end", || listener.accept().ok());
    let mut far = accepted.unwrap().0;
    far.set_nonblocking(false).unwrap();
    far.set_read_timeout(Some(LIMIT)).unwrap();
    let mut begin = [0; 20];
    far.read_exact(&mut begin).unwrap();
    assert_eq!(String::from_utf8_lossy(&begin), "PROXY TCP4 10.1.0.1 ");
}

#[test]
fn an_address_of_the_host_is_added_and_taken_away() {
    let Some((scene, listener, other)) = server("addresses", &[]) else { return };
    let mut near = Line::open(&scene.remote, "10.1.0.2:7000", &listener);
    scene.wharf.unpublish("web", &["7000:7000"]);
    assert!(!near.carries());
    scene.wharf.publish("web", &["10.1.0.2:7000:7000"], &[]);
    let mut near = Line::open(&scene.remote, "10.1.0.2:7000", &listener);
    scene.wharf.publish("web", &["10.2.0.2:7000:7000"], &[]);
    let _other = Line::open(&other, "10.2.0.2:7000", &listener);
    assert!(near.carries());
    scene.wharf.unpublish("web", &["10.2.0.2:7000:7000"]);
    assert!(!other.can_connect("10.2.0.2:7000"));
    assert!(near.carries());
}
