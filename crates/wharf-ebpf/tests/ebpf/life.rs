use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wharf_ebpf::{Applied, EbpfPlane, Error, Obstacle};
use wharf_plan::ebpf::{Connect, EbpfPlan};
use wharf_spec::Proto;

use crate::scene::{
    Scene, connect, datagrams, echo, exchange, id, plan, ports, said, scene, serve, steer,
};

fn web() -> EbpfPlan {
    plan([connect(8080, "10.77.0.2:80"), connect(8080, "[fd77::2]:80")])
}

fn rich() -> EbpfPlan {
    let mut listed = connect(8081, "10.77.0.2:81");
    listed.from = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()];
    listed.publication = id("listed");
    let mut range = datagrams(0, "10.77.0.2:0");
    (range.ports, range.target_ports) = (ports(20_000, 29_999), ports(30_000, 39_999));
    (range.host, range.keeps_host) = (Some("10.1.0.2".parse().unwrap()), true);
    let mut all = web();
    all.add(plan([listed, range]));
    all.steers.insert(steer(Proto::Tcp, "0.0.0.0", ports(1024, 60_999)));
    all.steers.insert(steer(Proto::Udp, "fd01::2", ports(1024, 60_999)));
    all
}

/// Whether nothing is mounted at `place` any more, and it is gone.
fn is_gone(place: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    !place.exists() && !mounts.contains(place.to_str().unwrap())
}

/// The directories in the plane's file system.
pub(crate) fn releases(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

pub(crate) fn is_maps(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("maps-")
}

#[test]
fn a_plan_in_force_changes_nothing() {
    let Some(scene) = scene("twice") else { return };
    let mut plane = scene.plane();
    let first = plane.apply(&rich()).unwrap();
    assert_eq!(first, Applied { added: 6, removed: 0, attached: 15 });
    assert_eq!(plane.observe().unwrap(), rich());
    assert!(plane.is_attached().unwrap());
    assert_eq!(plane.apply(&rich()).unwrap(), Applied::default());
    assert_eq!(plane.repair().unwrap(), Vec::<&str>::new());
    let fewer = plane.apply(&web()).unwrap();
    assert_eq!(fewer, Applied { added: 0, removed: 4, attached: 0 });
    assert_eq!(plane.observe().unwrap(), web());
    assert_eq!(plane.overflow().unwrap(), wharf_ebpf::Overflow::default());
}

#[test]
fn nothing_is_attached_before_there_is_something_to_do() {
    let Some(scene) = scene("nothing") else { return };
    let mut plane = scene.plane();
    assert_eq!(plane.apply(&EbpfPlan::default()).unwrap(), Applied::default());
    assert!(plane.is_attached().unwrap());
    assert_eq!(plane.apply(&web()).unwrap().attached, 9);
}

#[test]
fn a_change_is_to_a_plan_that_was_applied() {
    let Some(scene) = scene("change first") else { return };
    let mut plane = scene.plane();
    let early = plane.change(&EbpfPlan::default(), &web()).unwrap_err();
    assert!(matches!(early, Error::NotApplied), "{early}");
    plane.apply(&EbpfPlan::default()).unwrap();
    plane.change(&EbpfPlan::default(), &web()).unwrap();
    plane.change(&web(), &rich()).unwrap();
    assert_eq!(plane.observe().unwrap(), rich());
}

#[test]
fn what_is_dropped_stays_in_force_and_is_adopted() {
    let Some(scene) = scene("adopted") else { return };
    serve(scene.web.tcp_listen("0.0.0.0:80").unwrap(), "web");
    let mut plane = scene.plane();
    plane.apply(&rich()).unwrap();
    let open = scene.host.tcp("127.0.0.1:8080").unwrap();
    drop(plane);
    let (told, peer) = scene.ask("127.0.0.1:8080");
    assert_eq!((told.as_str(), peer.as_str()), ("web 10.77.0.1", "127.0.0.1:8080"));
    let mut next = scene.plane();
    assert_eq!(next.observe().unwrap(), rich());
    assert_eq!(next.counters().unwrap()[&id("web")].connections, 2);
    assert_eq!(next.apply(&rich()).unwrap(), Applied::default());
    assert_eq!(open.peer_addr().unwrap().to_string(), "127.0.0.1:8080");
    // The next one may want something else.
    drop(next);
    scene.plane().apply(&web()).unwrap();
    assert_eq!(scene.plane().observe().unwrap(), web());
    assert_eq!(releases(&scene.place).len(), 2);
}

#[test]
fn a_floor_is_served_without_a_plane() {
    let Some(scene) = scene("floor alone") else { return };
    let mut plane = scene.plane();
    let wide = steer(Proto::Tcp, "0.0.0.0", ports(20_000, 29_999));
    let wanted = EbpfPlan { steers: [wide.clone()].into(), ..EbpfPlan::default() };
    plane.apply(&wanted).unwrap();
    let floor = crate::steering::of_relay(&scene.host, socket2::Type::STREAM, "0.0.0.0:20000");
    plane.set_floor(&wide, &[std::os::fd::AsFd::as_fd(&floor)]).unwrap();
    serve(floor.into(), "floor");
    drop(plane);
    assert_eq!(said(scene.client.tcp("10.1.0.2:25000").unwrap()), "floor 10.1.0.1");
    let mut next = scene.plane();
    assert_eq!(next.apply(&wanted).unwrap(), Applied::default());
    assert_eq!(said(scene.client.tcp("10.1.0.2:25000").unwrap()), "floor 10.1.0.1");
}

/// Connects again and again until it is stopped; what was told, and what went wrong.
struct Load {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<(BTreeSet<String>, Vec<String>)>,
}

impl Load {
    fn start(scene: &Scene, asked: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (host, until) = (scene.host.clone(), Arc::clone(&stop));
        let work = move || {
            let (mut told, mut failed) = (BTreeSet::new(), Vec::new());
            while !until.load(Ordering::Relaxed) {
                match host.tcp(asked) {
                    Ok(stream) => {
                        let peer = stream.peer_addr().unwrap().to_string();
                        if peer != asked {
                            failed.push(format!("peer {peer}"));
                        }
                        told.insert(said(stream));
                    }
                    Err(error) => failed.push(format!("{error:#}")),
                }
            }
            (told, failed)
        };
        Self { stop, thread: thread::spawn(work) }
    }

    /// Nothing went wrong; what was told.
    fn stop(self) -> BTreeSet<String> {
        self.stop_but(&[])
    }

    /// Nothing went wrong but these; what was told.
    fn stop_but(self, expected: &[&str]) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let (told, mut failed) = self.thread.join().unwrap();
        failed.retain(|failure| !expected.contains(&failure.as_str()));
        assert_eq!(failed, Vec::<String>::new());
        told
    }
}

#[test]
fn a_target_changes_under_load_without_a_connection_that_fails() {
    let Some(scene) = scene("steady") else { return };
    for (port, name) in [(80, "blue"), (81, "green")] {
        serve(scene.web.tcp_listen(&format!("0.0.0.0:{port}")).unwrap(), name);
    }
    let wide = |id_: &str, target: u16| {
        let (range, targets) = (ports(8000, 8099), ports(target, target + 99));
        let publication = id(id_);
        Connect { publication, ports: range, target_ports: targets, ..connect(0, "10.77.0.2:0") }
    };
    let mut plane = scene.plane();
    plane.apply(&plan([wide("blue", 80)])).unwrap();
    let load = Load::start(&scene, "127.0.0.1:8000");
    let (mut blue, mut green) = (plan([wide("blue", 80)]), plan([wide("green", 81)]));
    for _ in 0..200 {
        plane.change(&blue, &green).unwrap();
        std::mem::swap(&mut blue, &mut green);
        thread::sleep(Duration::from_millis(1));
    }
    // A list of who may is changed as well, and the whole is applied.
    let mut listed = wide("blue", 80);
    listed.from = vec!["127.0.0.0/8".parse().unwrap()];
    for _ in 0..20 {
        plane.apply(&plan([listed.clone()])).unwrap();
        plane.apply(&plan([wide("green", 81)])).unwrap();
    }
    let told = load.stop();
    let both = ["blue 10.77.0.1", "green 10.77.0.1"].map(str::to_owned);
    assert_eq!(told, BTreeSet::from(both));
}

#[test]
fn another_release_takes_over_under_load() {
    let Some(scene) = scene("release") else { return };
    let mut plane = scene.leading(&web());
    let open = scene.host.tcp("127.0.0.1:8080").unwrap();
    plane.apply(&web()).unwrap();
    drop(plane);
    for kind in ["programs", "maps and programs"] {
        let load = Load::start(&scene, "127.0.0.1:8080");
        // As another release would have pinned them: by other names.
        for path in releases(&scene.place) {
            if kind != "programs" || !is_maps(&path) {
                let other = path.with_file_name(format!("other{}", path.iter().count()));
                let other = if is_maps(&path) { other.with_file_name("maps-other") } else { other };
                fs::rename(&path, other).unwrap();
            }
        }
        let mut next = scene.plane();
        assert_eq!(scene.ask("127.0.0.1:8080").1, "127.0.0.1:8080", "the old is in force");
        let applied = next.apply(&web()).unwrap();
        assert_eq!(applied.attached, 9);
        assert_eq!(applied.added, if kind == "programs" { 0 } else { 2 });
        assert!(releases(&scene.place).len() > 2, "ranges need sockets before the old may go");
        next.replace_others();
        assert_eq!(releases(&scene.place).len(), 2, "the old is gone");
        if kind == "programs" {
            assert_eq!(scene.ask("127.0.0.1:8080").1, "127.0.0.1:8080");
            assert_eq!(open.peer_addr().unwrap().to_string(), "127.0.0.1:8080");
            assert!(next.counters().unwrap()[&id("web")].open >= 1);
        }
        // What old maps knew of a connection goes with them; the kernel detaches a little later.
        let unknown: &[_] = if kind == "programs" { &[] } else { &["peer 10.77.0.2:80"] };
        assert_eq!(load.stop_but(unknown), BTreeSet::from(["web 10.77.0.1".to_owned()]));
    }
}

#[test]
fn what_is_half_there_is_made_whole() {
    let Some(scene) = scene("half") else { return };
    drop(scene.leading(&web()));
    for missing in ["programs/connect4", "links/connect4", "targets", "sockets"] {
        let path = releases(&scene.place).into_iter().find_map(|release| {
            let path = release.join(missing);
            path.exists().then_some(path)
        });
        fs::remove_file(path.unwrap()).unwrap();
        let mut plane = scene.plane();
        plane.apply(&web()).unwrap();
        plane.replace_others();
        assert!(plane.is_attached().unwrap());
        assert_eq!(plane.observe().unwrap(), web());
        assert_eq!(scene.ask("127.0.0.1:8080").0, "web 10.77.0.1", "{missing}");
        assert_eq!(releases(&scene.place).len(), 2, "{missing}");
    }
}

#[test]
fn a_link_that_somebody_removed_is_attached_again() {
    let Some(scene) = scene("removed") else { return };
    let mut plane = scene.leading(&web());
    let links = releases(&scene.place).into_iter().map(|path| path.join("links"));
    let links = links.into_iter().find(|path| path.is_dir()).unwrap();
    fs::remove_file(links.join("connect4")).unwrap();
    assert!(!plane.is_attached().unwrap());
    is_detached(&scene);
    assert_eq!(scene.ask("[::1]:8080").0, "web fd77::1");
    assert_eq!(plane.repair().unwrap(), ["connect4"]);
    assert!(plane.is_attached().unwrap());
    assert_eq!(scene.ask("127.0.0.1:8080").0, "web 10.77.0.1");
}

#[test]
fn a_link_that_somebody_detached_is_attached_again() {
    let Some(scene) = scene("detached") else { return };
    let mut plane = scene.leading(&web());
    let links = releases(&scene.place).into_iter().map(|path| path.join("links"));
    let link = links.into_iter().find(|path| path.is_dir()).unwrap().join("connect6");
    let detached = Command::new("bpftool").args(["link", "detach", "pinned"]).arg(link).status();
    if !detached.is_ok_and(|status| status.success()) {
        eprintln!("skipped: bpftool, which detaches a link, is not installed");
        return;
    }
    assert!(!plane.is_attached().unwrap());
    assert_eq!(plane.repair().unwrap(), ["connect6"]);
    assert_eq!(scene.ask("[::1]:8080").0, "web fd77::1");
}

#[test]
fn two_planes_do_not_see_each_other() {
    let Some(one) = scene("side") else { return };
    let Some(two) = scene("by side") else { return };
    let mut first = one.leading(&web());
    serve(two.web.tcp_listen("0.0.0.0:80").unwrap(), "other");
    let mut second = two.plane();
    second.apply(&plan([connect(8080, "10.77.0.2:80")])).unwrap();
    assert_eq!(one.ask("127.0.0.1:8080").0, "web 10.77.0.1");
    assert_eq!(two.ask("127.0.0.1:8080").0, "other 10.77.0.1");
    assert!(!two.host.can_connect("[::1]:8080"));
    first.apply(&EbpfPlan::default()).unwrap();
    assert!(!one.host.can_connect("127.0.0.1:8080"));
    assert_eq!(two.ask("127.0.0.1:8080").0, "other 10.77.0.1");
    second.dismantle().unwrap();
    first.apply(&web()).unwrap();
    assert_eq!(one.ask("127.0.0.1:8080").0, "web 10.77.0.1");
    let mut steers = EbpfPlan::default();
    steers.steers.insert(steer(Proto::Tcp, "0.0.0.0", ports(1024, 60_999)));
    first.apply(&steers).unwrap();
    assert!(one.host.tcp_listen("0.0.0.0:9000").is_err());
    assert!(two.host.tcp_listen("0.0.0.0:9000").is_ok());
}

fn talk(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

#[test]
fn open_connections_go_on_until_they_are_severed() {
    let Some(scene) = scene("sever") else { return };
    echo(scene.web.tcp_listen("0.0.0.0:80").unwrap());
    echo(scene.listen6(&scene.web, 80));
    let mut plane = scene.plane();
    let mut other = connect(8081, "10.77.0.2:80");
    other.publication = id("other");
    let mut all = web();
    all.add(plan([other.clone()]));
    plane.apply(&all).unwrap();
    let asked = ["127.0.0.1:8080", "[::1]:8080", "[::ffff:10.1.0.2]:8080"];
    let mut streams = asked.map(|at| scene.host.tcp(at).unwrap());
    let mut spared = scene.host.tcp("127.0.0.1:8081").unwrap();
    let mut direct = scene.host.tcp("10.77.0.2:80").unwrap();
    plane.apply(&plan([other])).unwrap();
    assert!(!scene.host.can_connect("127.0.0.1:8080"));
    streams.iter_mut().zip(asked).for_each(|(stream, at)| {
        talk(stream).unwrap();
        assert_eq!(stream.peer_addr().unwrap().to_string(), at);
    });
    assert_eq!(plane.counters().unwrap()[&id("web")].open, 3);
    match plane.sever(&BTreeSet::from([id("web")])) {
        Err(error) if error.to_string().contains("CONFIG_INET_DIAG_DESTROY") => {
            eprintln!("skipped: {error}");
            return;
        }
        ended => assert_eq!(ended.unwrap(), 3),
    }
    for stream in &mut streams {
        assert_eq!(talk(stream).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }
    talk(&mut spared).unwrap();
    talk(&mut direct).unwrap();
    drop(streams);
    plane.apply(&web()).unwrap();
    plane.apply(&EbpfPlan::default()).unwrap();
    assert!(!plane.counters().unwrap().contains_key(&id("web")), "nothing is left to count");
    assert_eq!(plane.sever(&BTreeSet::from([id("web")])).unwrap(), 0);
}

/// The kernel lets go of a link by and by once nothing refers to it any more.
const DETACHED: Duration = Duration::from_secs(5);

fn is_detached(scene: &Scene) {
    let refused = || (!scene.host.can_connect("127.0.0.1:8080")).then_some(());
    wharf_lab::wait::until(DETACHED, "no more connections", refused).unwrap();
}

#[test]
fn dismantling_leaves_nothing() {
    let Some(scene) = scene("dismantled") else { return };
    let mut plane = scene.leading(&web());
    plane.apply(&rich()).unwrap();
    let mut open = scene.host.tcp("127.0.0.1:8080").unwrap();
    plane.dismantle().unwrap();
    assert!(is_gone(&scene.place));
    is_detached(&scene);
    let free = || scene.host.tcp_listen("0.0.0.0:30000").ok();
    wharf_lab::wait::until(DETACHED, "a range that nobody guards", free).unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "web 10.77.0.1");
    wharf_ebpf::dismantle(&scene.place).unwrap();
}

#[test]
fn what_a_killed_process_left_can_be_dismantled_without_a_plane() {
    let Some(scene) = scene("left over") else { return };
    drop(scene.leading(&web()));
    assert!(scene.host.can_connect("127.0.0.1:8080"));
    wharf_ebpf::dismantle(&scene.place).unwrap();
    assert!(is_gone(&scene.place));
    is_detached(&scene);
}

#[test]
fn datagrams_follow_their_publication() {
    let Some(scene) = scene("follow") else { return };
    for (port, name) in [(53, "blue"), (54, "green")] {
        crate::scene::answer(scene.web.udp_bind(&format!("0.0.0.0:{port}")).unwrap(), name);
    }
    let mut plane = scene.plane();
    plane.apply(&plan([datagrams(5353, "10.77.0.2:53")])).unwrap();
    let socket = scene.udp("0.0.0.0:0");
    assert_eq!(exchange(&socket, "127.0.0.1:5353").unwrap().0, "blue 10.77.0.1");
    plane.apply(&plan([datagrams(5353, "10.77.0.2:54")])).unwrap();
    let (text, from) = exchange(&socket, "127.0.0.1:5353").unwrap();
    assert_eq!((text.as_str(), from.to_string().as_str()), ("green 10.77.0.1", "127.0.0.1:5353"));
}

#[test]
fn a_plan_that_contradicts_itself_is_refused_and_changes_nothing() {
    let Some(scene) = scene("refused") else { return };
    let mut plane = scene.leading(&web());
    let mut wrong = web();
    wrong.add(plan([connect(8080, "10.77.0.3:80")]));
    let refused = plane.apply(&wrong).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    assert_eq!(plane.observe().unwrap(), web());
    assert_eq!(scene.ask("127.0.0.1:8080").0, "web 10.77.0.1");
}

#[test]
fn a_host_without_the_right_to_load_programs_says_so() {
    let Some(scene) = scene("rights") else { return };
    let place = scene.place.clone();
    let tried = scene.host.run(|| {
        // Capabilities are a thread's own, and this one ends here.
        let none = rustix::thread::CapabilitySet::empty();
        let sets =
            rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        (wharf_ebpf::probe(), EbpfPlane::open(&place).map(|_| ()))
    });
    let (probed, opened) = tried.unwrap();
    let probed = probed.unwrap_err();
    assert!(matches!(probed, Obstacle::NotAllowed { .. }), "{probed}");
    assert!(probed.to_string().contains("CAP_SYS_ADMIN"), "{probed}");
    let opened = opened.unwrap_err();
    assert!(matches!(opened, Error::Obstacle(Obstacle::NoFileSystem { .. })), "{opened}");
    assert!(is_gone(&place));
}

#[test]
fn what_is_in_force_in_another_mount_namespace_is_an_obstacle() {
    let Some(scene) = scene("elsewhere") else { return };
    std::fs::create_dir_all(&scene.place).unwrap();
    let mounts = r#"mount -t bpf wharf "$0" && mkdir "$0/held" && echo ready && exec sleep 20"#;
    let mut other = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", mounts])
        .arg(&scene.place)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let opened = scene.host.netns().run(|| wharf_ebpf::EbpfPlane::open(&scene.place)).unwrap();
    let refused = opened.map(drop).unwrap_err().to_string();
    assert!(refused.contains("another mount namespace"), "{refused}");
    other.kill().unwrap();
    other.wait().unwrap();
    scene.plane();
}
