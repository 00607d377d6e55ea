//! Ports of a steered range that sockets of others have, and those that only seem to be had.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use socket2::Type;
use wharf_plan::ebpf::{Connect, EbpfPlan};
use wharf_spec::Proto;

use crate::scene::{Scene, answer, connect, datagrams, exchange, plan, ports, said, scene, serve};
use crate::scene::{steer, steered};
use crate::steering::of_relay;

const RANGE: (u16, u16) = (20_000, 20_999);

#[test]
fn the_first_port_of_a_range_is_led_as_the_others_are() {
    let Some(scene) = scene("first port") else { return };
    serve(scene.web.tcp_listen("0.0.0.0:20000").unwrap(), "web");
    answer(scene.web.udp_bind("0.0.0.0:20000").unwrap(), "web");
    // As publications are made: first there are sockets, then anybody is led to them.
    let tcp = of_relay(&scene.host, Type::STREAM, "0.0.0.0:20000");
    let udp = of_relay(&scene.host, Type::DGRAM, "0.0.0.0:20000");
    let range = ports(RANGE.0, RANGE.1);
    let led = |entry| Connect { ports: range, target_ports: range, ..entry };
    let mut wanted = plan([led(connect(0, "10.77.0.2:0")), led(datagrams(0, "10.77.0.2:0"))]);
    let floors = [(Proto::Tcp, &tcp), (Proto::Udp, &udp)];
    let floors = floors.map(|(proto, socket)| (steer(proto, "0.0.0.0", range), socket));
    wanted.steers.extend(floors.iter().map(|(steer, _)| steer.clone()));
    let mut plane = scene.plane();
    plane.apply(&wanted).unwrap();
    for (steer, socket) in &floors {
        plane.set_floor(steer, &[socket.as_fd()]).unwrap();
    }
    let led = |after: &str| {
        assert_eq!(scene.ask("127.0.0.1:20000").0, "web 10.77.0.1", "{after}");
        let asking = scene.udp("0.0.0.0:0");
        assert_eq!(exchange(&asking, "127.0.0.1:20000").unwrap().0, "web 10.77.0.1", "{after}");
    };
    serve(tcp.try_clone().unwrap().into(), "floor");
    led("apply");
    assert_eq!(said(scene.client.tcp("10.1.0.2:20000").unwrap()), "floor 10.1.0.1");
    // Whoever looks round again knows the sockets.
    let more = steered([steer(Proto::Tcp, "::", range)]);
    plane.change(&EbpfPlan::default(), &more).unwrap();
    led("another look");
}

#[test]
fn a_socket_that_closes_while_it_is_noted_leaves_its_port() {
    let Some(scene) = scene("closing") else { return };
    wharf_host::probe::raise_nofile().unwrap();
    let range = steered([steer(Proto::Tcp, "0.0.0.0", ports(RANGE.0, RANGE.1))]);
    let mut plane = scene.plane();
    // With another range all programs are attached, so that a look round begins at once.
    plane.apply(&steered([steer(Proto::Tcp, "0.0.0.0", ports(10_000, 10_001))])).unwrap();
    for _ in 0..20 {
        let listen = |port| scene.host.tcp_listen(&format!("0.0.0.0:{port}")).unwrap();
        let held: Vec<TcpListener> = (RANGE.0..=RANGE.1).map(listen).collect();
        let closing = thread::spawn(move || close_slowly(held));
        plane.change(&EbpfPlan::default(), &range).unwrap();
        closing.join().unwrap();
        plane.repair().unwrap();
        plane.change(&range, &EbpfPlan::default()).unwrap();
    }
    plane.change(&EbpfPlan::default(), &range).unwrap();
    let floor = of_relay(&scene.host, Type::STREAM, "0.0.0.0:20000");
    let steer = range.steers.first().unwrap();
    plane.set_floor(steer, &[floor.as_fd()]).unwrap();
    serve(floor.into(), "floor");
    let lost = |port: &u16| !scene.client.can_connect(&format!("10.1.0.2:{port}"));
    let lost: Vec<u16> = (RANGE.0..=RANGE.1).filter(lost).collect();
    assert!(lost.is_empty(), "{lost:?} are steered to nobody");
}

/// About as fast as sockets are noted, so that some close at that very moment.
fn close_slowly(held: Vec<TcpListener>) {
    for (n, listener) in held.into_iter().enumerate() {
        drop(listener);
        if n % 8 == 0 {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Writes 0 to every count of sockets of others, and answers how many there were; `None` without
/// bpftool, which can.
fn forget_counts(scene: &Scene) -> Option<usize> {
    let pinned = std::fs::read_dir(&scene.place).unwrap().map(|it| it.unwrap().path().join("busy"));
    let busy = pinned.into_iter().find(|path| path.exists()).unwrap();
    let dump = bpftool(&["-j", "map", "dump", "pinned"], &busy, &[])?;
    let entries = dump.split(r#""key":["#).skip(1);
    for entry in entries.clone() {
        let key = entry.split(']').next().unwrap().replace('"', "");
        let more = ["key"].into_iter().chain(key.split(',')).chain(["value", "0", "0", "0", "0"]);
        bpftool(&["map", "update", "pinned"], &busy, &more.collect::<Vec<_>>()).unwrap();
    }
    Some(entries.count())
}

fn bpftool(verb: &[&str], map: &Path, more: &[&str]) -> Option<String> {
    let output = Command::new("bpftool").args(verb).arg(map).args(more).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn nothing_is_taken_off_a_count_of_nothing() {
    let Some(scene) = scene("nothing") else { return };
    let range = steer(Proto::Tcp, "0.0.0.0", ports(40_000, 40_999));
    let mut plane = scene.plane();
    plane.apply(&steered([range.clone()])).unwrap();
    let floor = of_relay(&scene.host, Type::STREAM, "0.0.0.0:40000");
    plane.set_floor(&range, &[floor.as_fd()]).unwrap();
    serve(floor.into(), "floor");
    scene.host.sysctl("net/ipv4/ip_local_port_range", "40001 40999").unwrap();
    let own = scene.host.tcp_listen("0.0.0.0:0").unwrap();
    let at = format!("10.1.0.2:{}", own.local_addr().unwrap().port());
    let Some(forgotten) = forget_counts(&scene) else {
        eprintln!("skipped: bpftool, which writes to a map, is not installed");
        return;
    };
    assert_ne!(forgotten, 0, "the listener's port was counted");
    drop(own);
    assert_eq!(said(scene.client.tcp(&at).unwrap()), "floor 10.1.0.1");
}
