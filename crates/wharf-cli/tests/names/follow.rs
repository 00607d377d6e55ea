//! Names follow what happens.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use super::ask::{A, NO_SUCH_NAME, PTR, addresses, ask, ask_tcp, question, reverse, try_ask};
use super::site::Site;

#[test]
fn a_name_comes_and_goes_with_its_container() {
    let Some(site) = Site::new("follow") else { return };
    let _stub = site.stub();
    let client = site.sleeper("client", &[]);
    assert_eq!(ask(&client, "web", A).code, NO_SUCH_NAME);
    site.sleeper("web", &[]);
    let at = site.ip("web", "wharf");
    assert_eq!(ask(&client, "web", A).data, [at.as_str()]);
    site.wharf.ok(["stop", "-t", "0", "web"]);
    assert_eq!(ask(&client, "web", A).code, NO_SUCH_NAME);
    site.wharf.ok(["start", "web"]);
    assert_eq!(ask(&client, "web", A).data, [at.as_str()]);
    site.wharf.ok(["rm", "-f", "web"]);
    assert_eq!(ask(&client, "web", A).code, NO_SUCH_NAME);
    assert_eq!(ask(&client, &reverse(&at), PTR).code, NO_SUCH_NAME);
    // One that ends by itself goes, too.
    site.detached("brief", &[], &["sh", "-c", "while ! test -e /end; do sleep 0.05; done"]);
    assert_eq!(ask(&client, "brief", A).data.len(), 1);
    site.wharf.lets_go("brief", "/end");
    site.eventually("the end of its name", || {
        (ask(&client, "brief", A).code == NO_SUCH_NAME).then_some(())
    });
}

#[test]
fn a_container_gets_another_name() {
    let Some(site) = Site::new("rename") else { return };
    let _stub = site.stub();
    let client = site.sleeper("client", &[]);
    site.sleeper("web", &["-p", "8080:80"]);
    let at = site.ip("web", "wharf");
    assert_eq!(site.wharf.ok(["rename", "web", "shop"]), "");
    assert_eq!(ask(&client, "shop", A).data, [at.as_str()]);
    assert_eq!(ask(&client, "web", A).code, NO_SUCH_NAME);
    assert_eq!(ask(&client, &reverse(&at), PTR).data, ["shop.wharf"]);
    assert_eq!(site.wharf.inspect("shop")["Name"], "/shop");
    assert_eq!(site.wharf.json(["ports"])[0]["target_name"], "shop");
    site.wharf.ok(["rename", "/shop", "/web"]);
    site.refused(&["inspect", "shop"], 1, "shop");
    site.refused(&["rename", "web", "client"], 1, "is already in use by container");
    site.refused(&["rename", "web", "web"], 1, "same name as its current name");
    site.refused(&["rename", "web", "w b"], 1, "invalid container name");
    site.refused(&["rename", "none", "web2"], 1, "no such container: none");
    // A container that does not run can be renamed, too, and keeps it.
    site.wharf.ok(["stop", "-t", "0", "web"]);
    site.wharf.ok(["rename", "web", "later"]);
    site.wharf.ok(["start", "later"]);
    assert_eq!(ask(&client, "later", A).data, [at.as_str()]);
}

#[test]
fn the_next_daemon_answers_where_the_last_one_did() {
    let Some(site) = Site::new("killed") else { return };
    let daemon = site.wharf.daemon().unwrap();
    let client = site.sleeper("client", &[]);
    site.sleeper("web", &[]);
    let at = addresses(&client, "web");
    // A client that asks, and goes on asking by the same socket, as libraries do.
    let socket = client.run(|| UdpSocket::bind("127.0.0.1:0")).unwrap().unwrap();
    socket.connect(super::ask::SERVER).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let asked = question("web", A, None);
    let answers = || socket.send(&asked).is_ok() && socket.recv(&mut [0; 512]).is_ok();
    site.eventually("an answer", || answers().then_some(()));
    daemon.kill9().unwrap();
    assert!(try_ask(&client, &asked, Duration::from_millis(200)).is_err(), "nobody is there");
    site.wharf.ok(["ps"]);
    site.eventually("an answer to who asks on", || answers().then_some(()));
    assert_eq!(addresses(&client, "web"), at);
    assert_eq!(ask_tcp(&client, "web", A).data, at[..1]);
    site.wharf.ok(["shutdown"]);
    site.wharf.ok(["ps"]);
    assert_eq!(addresses(&client, "web"), at);
}

#[test]
fn a_container_may_hold_port_53_itself() {
    let Some(site) = Site::new("port 53") else { return };
    let daemon = site.wharf.daemon().unwrap();
    let server = site.sleeper("dns", &[]);
    let bound = server.run(|| (UdpSocket::bind("0.0.0.0:53"), TcpListener::bind("0.0.0.0:53")));
    let (udp, tcp) = bound.unwrap();
    let (_udp, _tcp) = (udp.unwrap(), tcp.unwrap());
    let at = addresses(&server, "dns");
    assert_eq!(at[0], site.ip("dns", "wharf"));
    assert_eq!(ask_tcp(&server, "dns", A).data, at[..1]);
    daemon.kill9().unwrap();
    site.wharf.ok(["ps"]);
    assert_eq!(addresses(&server, "dns"), at);
    // The rules are about ports of one address, and remember nothing.
    let seen = server.snapshot().unwrap();
    assert!(!seen.section("addresses").is_empty());
}
