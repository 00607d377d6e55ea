//! A client of another host connects all the time, and everything is done to the host that others
//! may do to it. The client does not notice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wharf_lab::{Firewalld, ForwardPorts};

use super::scene::{AT, LIMIT, RATE, REMOTE, Scene, assert_flawless, sh};

const FLUSHES: usize = 20;
const KILLED_DAEMONS: usize = 5;
const RELOADS: usize = 3;
const PUBLISHED: usize = 500;
/// A daemon that is killed while it is asked answers nothing; the next one does.
const TRIES: usize = 5;

/// Publishes other ports and takes them down again, one after the other.
fn publish_others(scene: &Scene, done: &AtomicUsize) {
    while done.fetch_add(1, Ordering::Relaxed) < PUBLISHED {
        let t0 = Instant::now();
        let spec = format!("{}:80", 20_000 + done.load(Ordering::Relaxed));
        persist(scene, &["publish", "other", &spec]);
        let t1 = t0.elapsed();
        persist(scene, &["unpublish", "other", &spec]);
        eprintln!("T {t1:?} {:?}", t0.elapsed() - t1);
    }
}

fn persist(scene: &Scene, line: &[&str]) {
    let mut last = None;
    for _ in 0..TRIES {
        let output = scene.wharf.run(line).unwrap();
        // Done all the same by the one that was killed before it could say so.
        let done = output.is_success() || output.stderr.contains("has not published");
        if done {
            return;
        }
        last = Some(output);
    }
    panic!("{line:?}: {last:?}");
}

/// Does everything else, evenly spread over the time that [`publish_others`] takes.
fn disturb(scene: &Scene, firewalld: Option<&Firewalld>, done: &AtomicUsize) {
    let steps = FLUSHES.max(KILLED_DAEMONS).max(RELOADS);
    for step in 0..steps {
        let due = PUBLISHED * step / steps;
        while done.load(Ordering::Relaxed) < due {
            thread::sleep(Duration::from_millis(5));
        }
        sh(&scene.host, "nft flush ruleset");
        if step % (FLUSHES / KILLED_DAEMONS) == 1 {
            assert_eq!(scene.wharf.kill9("daemon").unwrap(), 1);
        }
        if step % (FLUSHES / RELOADS) == 3 {
            // It wants to delete its table before it makes it anew.
            sh(&scene.host, "nft add table inet firewalld");
            firewalld.map(|it| it.reload().unwrap());
        }
        match step {
            5 => drop(scene.wharf.kill9("relay").unwrap()),
            12 => drop(sh(&scene.host, "ip link set wharf0 down")),
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
