//! A client of another host connects all the time, and everything is done to the host that others
//! may do to it. The client does not notice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use wharf_lab::{Firewalld, ForwardPorts, wait};

use super::scene::{AT, LIMIT, RATE, REMOTE, REMOVE_POLICY_RULES, Scene, assert_flawless, sh};

const FLUSHES: usize = 20;
const KILLED_DAEMONS: usize = 5;
const RELOADS: usize = 3;
/// Other ports that come and go, and how many with one verb.
const PUBLISHED: usize = 500;
const AT_ONCE: usize = 5;
/// A daemon that is killed while it is asked answers nothing; the next one does.
const TRIES: usize = 5;

/// Publishes other ports and takes them down again, a few at a time.
fn publish_others(scene: &Scene, done: &AtomicUsize) {
    for first in (0..PUBLISHED).step_by(AT_ONCE) {
        let ports = 20_000 + first..20_000 + first + AT_ONCE;
        let specs: Vec<String> = ports.map(|port| format!("{port}:80")).collect();
        for verb in ["publish", "unpublish"] {
            let specs = specs.iter().map(String::as_str);
            persist(scene, &[verb, "other"].into_iter().chain(specs).collect::<Vec<_>>());
        }
        done.fetch_add(AT_ONCE, Ordering::Relaxed);
    }
}

fn persist(scene: &Scene, line: &[&str]) {
    let mut last = None;
    for _ in 0..TRIES {
        let output = scene.wharf.run(line).unwrap();
        // Done all the same by the one that was killed before it could say so.
        let done = output.is_success() || output.stderr.contains("no such publication");
        if done {
            return;
        }
        last = Some(output);
    }
    panic!("{line:?}: {last:?}");
}

/// Does everything else, evenly spread over the time that [`publish_others`] takes.
fn disturb(scene: &Scene, firewalld: Option<&Firewalld>, done: &AtomicUsize) {
    for step in 0..FLUSHES {
        let due = PUBLISHED * step / FLUSHES;
        let is_due = || (done.load(Ordering::Relaxed) >= due).then_some(());
        wait::until(LIMIT * 3, "ports that come and go", is_due).unwrap();
        sh(&scene.host, "nft flush ruleset");
        if step % (FLUSHES / KILLED_DAEMONS) == 1 {
            assert_eq!(scene.wharf.kill9("daemon").unwrap(), 1);
            // The next one has to be there before the next flush: a table whose owner is dead is
            // anybody's, and what it was rewriting ends with it.
            persist(scene, &["ports"]);
        }
        if step % (FLUSHES / RELOADS) == 3 {
            // It wants to delete its table before it makes it anew.
            sh(&scene.host, "nft add table inet firewalld");
            if let Some(firewalld) = firewalld {
                firewalld.reload().unwrap();
            }
        }
        match step {
            // Not together with a daemon: nobody would be left who holds the listening sockets.
            6 => drop(scene.wharf.kill9("relay").unwrap()),
            8 => drop(sh(&scene.host, REMOVE_POLICY_RULES)),
            12 => drop(sh(&scene.host, "ip link del wharf0")),
            _ => {}
        }
    }
}

#[test]
fn a_client_that_connects_200_times_a_second_fails_never() {
    let Some(scene) = Scene::new("endurance") else { return };
    let firewalld = Firewalld::start(&scene.host, ForwardPorts::Open).unwrap();
    let scene = scene.published();
    scene.whoami("other", []);
    let prober = scene.remote.probe("tcp", AT[0], RATE).unwrap();
    prober.answers(20, LIMIT).unwrap();
    let (began, done) = (Instant::now(), AtomicUsize::new(0));
    thread::scope(|scope| {
        let publishing = scope.spawn(|| publish_others(&scene, &done));
        disturb(&scene, firewalld.as_ref(), &done);
        publishing.join().unwrap();
    });
    prober.answers(20, LIMIT).unwrap();
    let probed = prober.stop().unwrap();
    eprintln!("it took {:?}", began.elapsed());
    assert_flawless("everything at once", &probed);
    assert_eq!(scene.seen_from_remote(), REMOTE);
    assert_eq!(scene.wharf.ports().len(), 2);
}
