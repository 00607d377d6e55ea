//! Pulls that are cut off, by the registry, the daemon's death, or their user; and two at once.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use wharf_lab::{Process, wait};

use super::archive::{Layer, Layout, digest, gzip};
use super::server::{LIMIT, Server, SlowLine};
use super::site::Site;
use super::stub::{Content, Stub};

const STUB: &str = "127.0.0.1:5001";
const MEGABYTE: usize = 1 << 20;

/// A shell and so many megabytes that cannot be packed.
fn large(site: &Site, megabytes: usize) -> Layout {
    let base = Layer::new().tree(&site.rootfs).build();
    let top = Layer::new().noise("noise", megabytes * MEGABYTE).build();
    let config = json!({"Cmd": ["sha256sum", "/noise"]});
    Layout::default().image("large:1", &[top, base], config)
}

fn noise_sum(megabytes: usize) -> String {
    let tar = Layer::new().noise("noise", megabytes * MEGABYTE).build();
    // One header before, two empty blocks behind.
    let sum = digest(&tar[512..512 + megabytes * MEGABYTE]);
    format!("{}  /noise", sum.strip_prefix("sha256:").unwrap())
}

fn pull(site: &Site) -> Process {
    site.wharf.spawn(["pull", &format!("{STUB}/large:1")]).unwrap()
}

fn run(site: &Site) -> String {
    site.wharf.ok(["run", "--rm", "--pull=never", &format!("{STUB}/large:1")])
}

/// The daemon has so much of a layer.
fn has_come(site: &Site, bytes: u64) {
    let directory = site.wharf.state_dir().join("images/downloads");
    let largest = || {
        let entries = std::fs::read_dir(&directory).ok()?.flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).max()
    };
    wait::until(LIMIT, "some of a layer", || largest().filter(|it| *it >= bytes)).unwrap();
}

#[test]
fn a_registry_killed_in_the_middle_and_back_is_gone_on_with() {
    let Some(site) = Site::new("killed") else { return };
    let Some(mut server) = Server::start(&site, "") else { return };
    server.fill(&large(&site, 6).write(site.lab.directory(), "large.tar"), "large:1", &[]);
    let line = SlowLine::start(&site.host, STUB, 2 * MEGABYTE);
    let mut pulling = pull(&site);
    has_come(&site, MEGABYTE as u64);
    server.kill9();
    pulling.wait_for("Retrying", LIMIT).unwrap();
    server.start_again();
    let output = pulling.output(Duration::from_secs(60)).unwrap();
    assert!(output.is_success(), "{output:?}");
    assert_eq!(run(&site), noise_sum(6));
    let whole = 6 * MEGABYTE + gzip(&Layer::new().tree(&site.rootfs).build()).len();
    assert!(line.passed() < whole + 2 * MEGABYTE, "{} of {whole} bytes passed", line.passed());
    site.no_downloads_are_left();
}

#[test]
fn a_connection_that_breaks_is_gone_on_with_at_the_byte() {
    let Some(site) = Site::new("breaks") else { return };
    let mut content = Content::of(large(&site, 5));
    content.breaks = (MEGABYTE, 2);
    let layer = content.largest();
    let stub = Stub::start(&site.host, STUB, content);
    let output = pull(&site).output(LIMIT).unwrap();
    assert!(output.is_success() && output.stdout.contains("Retrying"), "{output:?}");
    let asked = stub.asked_for(&layer);
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1].ends_with(&format!("bytes={MEGABYTE}-")), "{asked:?}");
    assert_eq!(run(&site), noise_sum(5));
}

#[test]
fn a_registry_without_ranges_begins_anew_and_one_that_is_busy_is_asked_again() {
    let Some(site) = Site::new("no ranges") else { return };
    let mut content = Content::of(large(&site, 3));
    (content.breaks, content.no_ranges, content.busy) = ((MEGABYTE, 1), true, 2);
    let stub = Stub::start(&site.host, STUB, content);
    let output = pull(&site).output(LIMIT).unwrap();
    assert!(output.is_success(), "{output:?}");
    assert_eq!(run(&site), noise_sum(3));
    let content = stub.content.lock().unwrap();
    assert_eq!((content.busy, content.breaks.1), (0, 0));
}

#[test]
fn the_daemon_killed_in_the_middle_leaves_what_the_next_goes_on_with() {
    let Some(site) = Site::new("daemon killed") else { return };
    let mut content = Content::of(large(&site, 4));
    content.rate = Some(2 * MEGABYTE);
    let layer = content.largest();
    let stub = Stub::start(&site.host, STUB, content);
    let pulling = pull(&site);
    has_come(&site, MEGABYTE as u64);
    assert_eq!(site.wharf.kill9("daemon").unwrap(), 1);
    let output = pulling.output(LIMIT).unwrap();
    assert_eq!(output.code(), 1, "{output:?}");
    assert!(output.stderr.contains("goes on where it stopped"), "{output:?}");
    assert_eq!(site.list(), [] as [serde_json::Value; 0]);
    let output = pull(&site).output(LIMIT).unwrap();
    assert!(output.is_success(), "{output:?}");
    let asked = stub.asked_for(&layer);
    assert!(asked.len() == 2 && asked[1].contains("bytes="), "{asked:?}");
    assert_eq!(run(&site), noise_sum(4));
    site.no_downloads_are_left();
    let scratch = site.wharf.state_dir().join("images/scratch");
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
}

#[test]
fn a_pull_that_its_user_ends_ends_in_the_daemon_and_is_gone_on_with() {
    let Some(site) = Site::new("interrupted") else { return };
    let mut content = Content::of(large(&site, 4));
    content.rate = Some(MEGABYTE);
    let layer = content.largest();
    let stub = Stub::start(&site.host, STUB, content);
    let mut pulling = pull(&site);
    has_come(&site, MEGABYTE as u64);
    pulling.signal(rustix::process::Signal::INT).unwrap();
    pulling.wait(LIMIT).unwrap();
    stub.content.lock().unwrap().rate = None;
    let size = || {
        let entries = std::fs::read_dir(site.wharf.state_dir().join("images/downloads")).unwrap();
        entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum::<u64>()
    };
    // Nobody fetches for nobody, once the daemon has noticed.
    let (mut since, mut before) = (Instant::now(), size());
    wait::until(LIMIT, "the end of the fetching", || {
        let now = size();
        if now != before {
            (since, before) = (Instant::now(), now);
        }
        (since.elapsed() >= Duration::from_millis(500)).then_some(())
    })
    .unwrap();
    assert!(pull(&site).output(LIMIT).unwrap().is_success());
    assert!(stub.asked_for(&layer)[1].contains("bytes="));
    assert_eq!(run(&site), noise_sum(4));
}

#[test]
fn two_pulls_at_once_fetch_each_layer_once() {
    let Some(site) = Site::new("two at once") else { return };
    let mut content = Content::of(large(&site, 2));
    content.rate = Some(2 * MEGABYTE);
    let layer = content.largest();
    let stub = Stub::start(&site.host, STUB, content);
    site.wharf.ok(["images"]);
    let pulls = [pull(&site), pull(&site), pull(&site)];
    for pulling in pulls {
        let output = pulling.output(LIMIT).unwrap();
        assert!(output.is_success(), "{output:?}");
    }
    assert_eq!(stub.asked_for(&layer).len(), 1);
    assert_eq!((site.list().len(), site.layers()), (1, 2));
    assert_eq!(run(&site), noise_sum(2));
    site.no_downloads_are_left();
}

/// The state directory is a small file system, seen by the daemon only.
const SCRIPT: &str = "mount -t tmpfs -o size=24m tmpfs \"$WHARF_STATE_DIR\" && exec \"$0\" daemon";

#[test]
fn a_full_disk_refuses_the_pull_and_is_not_full_afterwards() {
    let Some(site) = Site::new("full") else { return };
    let plain = site.wharf.command(["daemon"]);
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation=private", "--", "/bin/sh", "-c", SCRIPT]);
    command.arg(plain.get_program());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut daemon = site.host.spawn(command).unwrap();
    let socket = site.wharf.run_dir().join("wharf.sock");
    wait::until(LIMIT, "the daemon", || std::os::unix::net::UnixStream::connect(&socket).ok())
        .unwrap();
    let content = Content::of(large(&site, 30));
    let stub = Stub::start(&site.host, STUB, content);
    let refused = site.wharf.fails(["pull", &format!("{STUB}/large:1")]);
    assert!(refused.stderr.contains("No space left"), "{refused:?}");
    assert_eq!(site.list(), [] as [serde_json::Value; 0]);
    *stub.content.lock().unwrap() = Content::of(large(&site, 1));
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &format!("{STUB}/large:1")]), noise_sum(1));
    site.wharf.ok(["shutdown"]);
    daemon.wait(LIMIT).unwrap();
}
