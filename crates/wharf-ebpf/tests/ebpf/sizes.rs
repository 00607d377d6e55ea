//! What many ports cost. These run alone, so that nobody else's maps are counted.

use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::Type;
use wharf_plan::ebpf::{Connect, EbpfPlan};
use wharf_spec::Proto;

use crate::scene::{connect, id, plan, ports, said, scene, serve, steer};
use crate::steering::of_relay;

/// What bpftool lists of one kind, one line for each.
fn listed(kind: &str) -> Option<Vec<String>> {
    let output = Command::new("bpftool").args([kind, "list"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let head = |line: &&str| line.starts_with(|c: char| c.is_ascii_digit());
    output.status.success().then(|| text.lines().filter(head).map(str::to_owned).collect())
}

/// The memory of every map, in bytes.
fn memory_of_maps() -> Option<u64> {
    let output = Command::new("bpftool").args(["map", "list"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let sizes = text.split_whitespace().skip_while(|word| *word != "memlock");
    let words: Vec<&str> = sizes.collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "memlock");
    Some(pairs.filter_map(|pair| pair[1].trim_end_matches('B').parse::<u64>().ok()).sum())
}

fn own_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn timed_sixty_thousand_ports_are_ready_at_once_and_cost_little() {
    let Some(scene) = scene("sixty thousand") else { return };
    let range = ports(1024, 60_999);
    let mut wanted = EbpfPlan::default();
    for (proto, target) in [(Proto::Tcp, "10.77.0.2:0"), (Proto::Udp, "10.77.0.2:0")] {
        let entry = Connect { proto, ports: range, target_ports: range, ..connect(0, target) };
        wanted.connects.insert(entry.clone());
        let v6 = Connect { target: "fd77::2".parse().unwrap(), ..entry };
        wanted.connects.insert(v6);
        for host in ["0.0.0.0", "::"] {
            wanted.steers.insert(steer(proto, host, range));
        }
    }
    let floors: Vec<_> = wanted
        .steers
        .iter()
        .map(|steer| {
            let kind = if steer.proto == Proto::Tcp { Type::STREAM } else { Type::DGRAM };
            let at = std::net::SocketAddr::from((steer.host, 1024));
            (steer.clone(), of_relay(&scene.host, kind, &at.to_string()))
        })
        .collect();
    let (before, own) = (memory_of_maps(), own_memory());
    let begun = Instant::now();
    let mut plane = scene.plane();
    let opened = begun.elapsed();
    plane.apply(&wanted).unwrap();
    let applied = begun.elapsed();
    for (steer, floor) in &floors {
        plane.set_floor(steer, &[floor.as_fd()]).unwrap();
    }
    let ready = begun.elapsed();
    let more = own_memory().saturating_sub(own);
    let maps = memory_of_maps().zip(before).map(|(now, before)| now - before);
    println!("open {opened:?}, applied after {applied:?}, ready after {ready:?}");
    println!("maps {maps:?} bytes, process {more} bytes");
    assert!(ready < Duration::from_millis(500), "{ready:?}");
    assert_eq!(plane.observe().unwrap(), wanted);
    if let Some(maps) = maps {
        assert!(maps + more < 10_000_000, "{maps} and {more}");
    }
    for (steer, floor) in floors {
        if steer.proto == Proto::Tcp {
            serve(floor.into(), "floor");
        }
    }
    serve(scene.web.tcp_listen("0.0.0.0:45678").unwrap(), "web");
    for port in [1024, 33_333, 60_999] {
        let told = said(scene.client.tcp(&format!("10.1.0.2:{port}")).unwrap());
        assert_eq!(told, "floor 10.1.0.1");
    }
    assert_eq!(scene.ask("127.0.0.1:45678").0, "web 10.77.0.1");
    let begun = Instant::now();
    plane.change(&wanted, &EbpfPlan::default()).unwrap();
    println!("taken back in {:?}", begun.elapsed());
}

#[test]
fn timed_a_change_costs_the_same_whatever_else_is_published() {
    let Some(scene) = scene("many") else { return };
    let mut plane = scene.plane();
    let many = |count: u16| (1..=count).map(|port| connect(port, &format!("10.77.0.2:{port}")));
    let begun = Instant::now();
    plane.apply(&plan(many(10_000))).unwrap();
    println!("10,000 publications of one port: {:?}", begun.elapsed());
    let one = Connect { publication: id("one"), ..connect(20_000, "10.77.0.2:80") };
    let one = plan([one]);
    let begun = Instant::now();
    for _ in 0..100 {
        plane.change(&EbpfPlan::default(), &one).unwrap();
        plane.change(&one, &EbpfPlan::default()).unwrap();
    }
    let each = begun.elapsed() / 200;
    println!("one change beside them: {each:?}");
    assert!(each < Duration::from_millis(5), "{each:?}");
    assert_eq!(plane.observe().unwrap().connects.len(), 10_000);
}

#[test]
fn timed_nothing_of_ours_is_left_in_the_kernel() {
    let before = ["link", "prog", "map"].map(listed);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let Some(scene) = scene("left") else { return };
    if before.iter().any(Option::is_none) {
        eprintln!("skipped: bpftool, which lists what the kernel holds, is not installed");
        return;
    }
    let mut wanted = plan([connect(8080, "10.77.0.2:80")]);
    wanted.steers.insert(steer(Proto::Tcp, "0.0.0.0", ports(1024, 60_999)));
    let mut plane = scene.plane();
    plane.apply(&wanted).unwrap();
    let during = ["link", "prog", "map"].map(listed);
    assert!(during.iter().zip(&before).all(|(now, then)| now > then));
    plane.dismantle().unwrap();
    // The kernel lets go of what is not used any more a grace period later.
    let gone = || {
        let after = ["link", "prog", "map"].map(listed);
        (after == before).then_some(())
    };
    wharf_lab::wait::until(Duration::from_secs(5), "everything to be gone", gone).unwrap();
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}
