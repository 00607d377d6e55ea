//! What many ports cost, and what is left of it.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use wharf_host::fdpass::send_frame;
use wharf_plan::ebpf::{Connect, EbpfPlan};
use wharf_spec::Proto;

use crate::scene::{connect, id, plan, ports, said, scene, serve, steer};
use crate::steering::of_relay;

/// What bpftool lists of one kind: ids, and the lines of each.
fn listed(kind: &str) -> Option<BTreeMap<u32, String>> {
    let output = Command::new("bpftool").args(["-f", kind, "list"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let mut found: BTreeMap<u32, String> = BTreeMap::new();
    for line in text.lines() {
        let id = line.split(':').next().and_then(|word| word.parse().ok());
        match (id, found.last_entry()) {
            (Some(id), _) => drop(found.insert(id, line.to_owned())),
            (None, Some(mut last)) => last.get_mut().push_str(line),
            (None, None) => {}
        }
    }
    Some(found)
}

/// Those of them that are pinned below `place`.
fn pinned(kind: &str, place: &Path) -> Option<BTreeMap<u32, String>> {
    let mut found = listed(kind)?;
    found.retain(|_, lines| lines.contains(place.to_str().unwrap()));
    Some(found)
}

/// The memory of the maps pinned below `place`, in bytes.
fn memory_of_maps(place: &Path) -> Option<u64> {
    let size = |lines: &String| {
        let mut words = lines.split_whitespace().skip_while(|word| *word != "memlock").skip(1);
        words.next()?.trim_end_matches('B').parse::<u64>().ok()
    };
    Some(pinned("map", place)?.values().filter_map(size).sum())
}

/// Before Linux 6.4 the kernel told what a map might take, and not what it takes.
fn tells_memory(place: &Path) -> bool {
    let empty = |lines: &String| lines.contains("name allowed") && lines.contains("memlock 0B");
    pinned("map", place).is_some_and(|maps| maps.values().any(empty))
}

/// The memory of this process that is no file's.
fn own_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn timed_sixty_thousand_ports_are_ready_at_once_and_cost_little() {
    let own = own_memory();
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
    let maps = memory_of_maps(&scene.place);
    println!("open {opened:?}, applied after {applied:?}, ready after {ready:?}");
    println!("maps {maps:?} bytes, process {more} bytes");
    assert!(ready < Duration::from_millis(500), "{ready:?}");
    assert_eq!(plane.observe().unwrap(), wanted);
    match maps {
        Some(maps) if tells_memory(&scene.place) => {
            assert!(maps + more < 10_000_000, "{maps} and {more}");
        }
        _ => eprintln!("skipped: how much memory maps take; bpftool or the kernel does not tell"),
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
fn nothing_of_ours_is_left_in_the_kernel() {
    let Some(scene) = scene("left") else { return };
    let mut wanted = plan([connect(8080, "10.77.0.2:80")]);
    wanted.steers.insert(steer(Proto::Tcp, "0.0.0.0", ports(1024, 60_999)));
    let mut plane = scene.plane();
    plane.apply(&wanted).unwrap();
    let kinds = [("link", 15), ("prog", 15), ("map", 13)];
    if listed("link").is_none() {
        eprintln!("skipped: bpftool, which lists what the kernel holds, is not installed");
        return;
    }
    let ours = kinds.map(|(kind, count)| {
        // bpftool gives up looking for pins when a directory of another test is gone meanwhile.
        let complete = || pinned(kind, &scene.place).filter(|ours| ours.len() == count);
        wharf_lab::wait::until(
            Duration::from_secs(10),
            &format!("{count} pins of {kind}s"),
            complete,
        )
        .unwrap()
    });
    plane.dismantle().unwrap();
    // The kernel lets go of what is not used any more a grace period later.
    let gone = || {
        let gone = |((kind, _), ours): ((&str, usize), &BTreeMap<u32, String>)| {
            let there = listed(kind).unwrap();
            ours.keys().all(|id| !there.contains_key(id))
        };
        kinds.into_iter().zip(&ours).all(gone).then_some(())
    };
    wharf_lab::wait::until(Duration::from_secs(20), "everything to be gone", gone).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(scene.place.to_str().unwrap()));
}

#[test]
fn timed_more_open_connections_than_fit_are_left_to_the_relay() {
    let Some(scene) = scene("full") else { return };
    if wharf_host::probe::raise_nofile().unwrap() < 6000 {
        eprintln!("skipped: this needs 6,000 descriptors");
        return;
    }
    let mut plane = scene.plane();
    plane.apply(&plan([connect(8080, "10.77.0.2:80")])).unwrap();
    let to: std::net::SocketAddr = "127.0.0.1:8080".parse().unwrap();
    // A socket counts until it is closed, also if its connection was refused. So many are more than
    // this process may have open; sockets on their way to another are open, too.
    let (near, far) = UnixStream::pair().unwrap();
    let fill = || {
        for _ in 0..32_768 / PARKED {
            let make = |_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.connect(&to.into()).unwrap_err();
                socket
            };
            let sockets: Vec<Socket> = (0..PARKED).map(make).collect();
            let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            send_frame(&near, b"parked", &fds).unwrap();
        }
    };
    scene.host.run(fill).unwrap();
    assert_eq!(plane.counters().unwrap()[&id("web")].open, 32_768);
    serve(scene.host.tcp_listen("0.0.0.0:8080").unwrap(), "relay");
    serve(scene.web.tcp_listen("0.0.0.0:80").unwrap(), "web");
    assert_eq!(scene.ask("127.0.0.1:8080").0, "relay 127.0.0.1");
    assert_eq!(plane.overflow().unwrap().sockets, 1);
    drop((near, far));
    let free = || (plane.counters().unwrap()[&id("web")].open == 0).then_some(());
    wharf_lab::wait::until(Duration::from_secs(5), "the sockets to be closed", free).unwrap();
    assert_eq!(scene.ask("127.0.0.1:8080").0, "web 10.77.0.1");
}

/// How many sockets are parked at a time: few enough to be open here, enough that what is on its
/// way fits the buffer.
const PARKED: usize = 4096;
