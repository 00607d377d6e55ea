//! What is not ours, or hangs: flows of others to the same port, a relay that does not answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wharf_host::netns::Netns;

use super::scene::{LIMIT, Scene, answered_by};

/// A connection of the container `name` to the remote host.
fn from_container(scene: &Scene, name: &str, to: &str) -> TcpStream {
    let told = scene.wharf.json(["inspect", name]);
    let pid = u32::try_from(told[0]["State"]["Pid"].as_u64().unwrap()).unwrap();
    let netns = Netns::of_process(pid).unwrap();
    let to = to.parse().unwrap();
    netns.run(|| TcpStream::connect_timeout(&to, LIMIT)).unwrap().unwrap()
}

#[test]
fn flows_to_the_same_port_of_another_host_go_on() {
    let Some(scene) = Scene::new("flows of others") else { return };
    scene.whoami("base", []);
    let listener = scene.remote.tcp_listen("10.1.0.1:9000").unwrap();
    let mut client = from_container(&scene, "base", "10.1.0.1:9000");
    let (mut server, _) = listener.accept().unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    scene.whoami("web", ["-p", "9000:80"]);
    let mut said = [0; 5];
    server.write_all(b"still").unwrap();
    client.read_exact(&mut said).unwrap();
    scene.wharf.ok(["rm", "-f", "web"]);
    server.write_all(b"there").unwrap();
    client.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"there");
}

#[test]
fn a_relay_that_hung_for_a_while_is_met_anew() {
    let Some(scene) = Scene::new("hung relay") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let relay = Pid::from_raw(scene.wharf.pids_of("relay")[0]).unwrap();
    kill_process(relay, Signal::STOP).unwrap();
    // The listing goes without the relay's counters once the limit for its answer has passed.
    scene.wharf.ok(["ports"]);
    kill_process(relay, Signal::CONT).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    scene.whoami("more", ["-p", "8081:80"]);
    for (port, name) in [(8080, "web"), (8081, "more")] {
        let address = format!("127.0.0.1:{port}");
        assert_eq!(answered_by(&scene.host, "tcp", &address).unwrap(), name);
    }
    scene.wharf.ok(["rm", "-f", "web", "more"]);
}
