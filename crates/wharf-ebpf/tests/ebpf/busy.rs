//! Ports of a steered range that sockets of others have, and those that only seem to be had.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use socket2::Type;
use wharf_plan::ebpf::EbpfPlan;
use wharf_spec::Proto;

use crate::scene::{Scene, ports, said, scene, serve, steer, steered};
use crate::steering::of_relay;

const RANGE: (u16, u16) = (20_000, 20_999);

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

/// Writes 0 to every count of sockets of others; whether there is bpftool, which can.
fn forget_counts(scene: &Scene) -> bool {
    let pinned = std::fs::read_dir(&scene.place).unwrap().map(|it| it.unwrap().path().join("busy"));
    let busy = pinned.into_iter().find(|path| path.exists()).unwrap();
    let Some(dump) = bpftool(&["-j", "map", "dump", "pinned"], &busy, &[]) else { return false };
    for entry in dump.split(r#""key":["#).skip(1) {
        let key = entry.split(']').next().unwrap().replace('"', "");
        let more = ["key"].into_iter().chain(key.split(',')).chain(["value", "0", "0", "0", "0"]);
        bpftool(&["map", "update", "pinned"], &busy, &more.collect::<Vec<_>>()).unwrap();
    }
    true
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
    if !forget_counts(&scene) {
        eprintln!("skipped: bpftool, which writes to a map, is not installed");
        return;
    }
    drop(own);
    assert_eq!(said(scene.client.tcp(&at).unwrap()), "floor 10.1.0.1");
}
