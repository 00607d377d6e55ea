//! The relay is replaced while a daemon and its clients use it.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wharf_lab::{Host, wait};

use super::site::{LIMIT, Site};

/// Asks again and again until `stop`; the answer to every request must come, and from the program
/// in the container.
fn ask_all_the_time(from: &Host, address: &str, stop: &AtomicBool, answers: &AtomicUsize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        let answer = from.http_get(address, "/health").unwrap();
        assert_eq!(answer.status, 200);
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_relay_upgraded_under_load_refuses_nobody_and_the_daemon_follows() {
    let Some(site) = Site::new("upgrade") else { return };
    let untouched = site.untouched();
    site.wharf.ok(["run", "-d", "-p", "8080:80,via=relay", "--name", "web", "wharf/whoami"]);
    site.answers(8080);
    let mut lasting = site.host.tcp("127.0.0.1:8080").unwrap();
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (from, address) in [
            (&site.host, "127.0.0.1:8080"),
            (&site.remote, "10.1.0.2:8080"),
            (&site.remote, "[fd01::2]:8080"),
        ] {
            scope.spawn(|| ask_all_the_time(from, address, &stop, &answers));
        }
        for _ in 0..3 {
            let before = site.wharf.pids_of("relay");
            let said = site.wharf.ok(["relay", "upgrade"]);
            let after = site.wharf.pids_of("relay");
            assert!(after.iter().any(|pid| !before.contains(pid)), "{said}: {after:?}");
            let asked = answers.load(Ordering::Relaxed);
            wait::until(LIMIT, "more answers", || {
                (answers.load(Ordering::Relaxed) > asked + 30).then_some(())
            })
            .unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    // The first relay still carries this one.
    write!(lasting, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    lasting.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop(lasting);
    wait::until(LIMIT, "the end of the old relays", || {
        (site.wharf.pids_of("relay").len() == 1).then_some(())
    })
    .unwrap();
    // The daemon goes on with the new one: it publishes, and replaces it when it is killed.
    site.run("more", 9090);
    site.answers(9090);
    let old = site.wharf.pids_of("relay");
    assert_eq!(site.wharf.kill9("relay").unwrap(), 1);
    wait::until(Duration::from_secs(1), "another relay that serves", || {
        site.host.http_get("127.0.0.1:8080", "/health").ok()
    })
    .unwrap();
    assert_ne!(site.wharf.pids_of("relay"), old);
    site.wharf.ok(["rm", "-f", "web", "more"]);
    site.wharf.ok(["shutdown"]);
    site.left_nothing(&untouched);
}

#[test]
fn an_upgrade_without_a_relay_says_so() {
    let Some(site) = Site::new("no relay") else { return };
    let failed = site.wharf.fails(["relay", "upgrade"]);
    assert!(failed.stderr.contains("no relay runs in"), "{failed:?}");
}

#[test]
fn a_client_that_connects_all_the_time_is_never_refused_when_the_relay_is_killed() {
    let Some(site) = Site::new("relay killed under load") else { return };
    site.wharf.ok(["run", "-d", "-p", "8080:80,via=relay", "--name", "web", "wharf/whoami"]);
    site.answers(8080);
    let stop = AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        let client = scope.spawn(|| longest_gap(&site.remote, &stop));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            site.wharf.kill9("relay").unwrap();
            wait::until(LIMIT, "another relay", || {
                (!site.wharf.pids_of("relay").is_empty()).then_some(())
            })
            .unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert!(longest < Duration::from_secs(1), "no answer for {longest:?}");
}

/// The longest time without an answer. Connections are never refused: the daemon holds the
/// listening sockets, too. Those that the killed relay carried are reset.
fn longest_gap(from: &Host, stop: &AtomicBool) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        let mut stream = from.tcp("10.1.0.2:8080").expect("a connection is never refused");
        let asked = write!(stream, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut text = String::new();
        if asked.is_ok() && stream.read_to_string(&mut text).is_ok() && text.contains("200") {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest
}

/// `wharf relay upgrade` by a process that may have 1,000 open files.
fn upgrade_with_little(site: &Site) -> wharf_lab::Output {
    let wharf = site.wharf.command(["relay", "upgrade"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -n 1000; exec \"$0\" \"$@\""]);
    shell.arg(wharf.get_program()).args(wharf.get_args());
    shell.envs(wharf.get_envs().filter_map(|(name, value)| Some((name, value?))));
    site.wharf.host().output(shell, LIMIT).unwrap()
}

#[test]
fn a_relay_never_has_room_for_less_than_the_one_before_it() {
    let Some(site) = Site::new("room") else { return };
    site.wharf.ok(["run", "-d", "-p", "8080:80,via=relay", "--name", "web", "wharf/whoami"]);
    site.answers(8080);
    let only = || {
        let relay = || <[i32; 1]>::try_from(site.wharf.pids_of("relay")).ok();
        let [pid] = wait::until(LIMIT, "one relay", relay).unwrap();
        u32::try_from(pid).unwrap()
    };
    let room = |pid| wharf_host::process::descriptor_limit_of(pid).unwrap().unwrap();
    let old = only();
    let before = room(old);
    let output = upgrade_with_little(&site);
    let new = only();
    if output.is_success() {
        assert!(new != old && room(new) == before, "it may raise limits");
    } else {
        assert!(output.stderr.contains("may have 1000 open files"), "{output:?}");
        assert!(output.stderr.contains(&format!("`ulimit -n {before}`")), "{output:?}");
        assert_eq!(new, old);
    }
    site.answers(8080);
}
