use std::io::Write;
use std::time::{Duration, Instant};

use crate::{Host, Lab, can_run, wait};

const LIMIT: Duration = Duration::from_secs(10);

/// A server and a client, one cable between them; `None` where labs cannot be built.
fn pair(name: &str) -> Option<(Lab, Host, Host)> {
    if !can_run() {
        return None;
    }
    let lab = Lab::new(name).unwrap();
    let (server, client) = (lab.host("server").unwrap(), lab.host("client").unwrap());
    lab.link(&server, &["10.1.0.2/24", "fd01::2/64"], &client, &["10.1.0.1/24", "fd01::1/64"])
        .unwrap();
    Some((lab, server, client))
}

#[test]
fn a_server_that_stays_is_seen_without_a_failure() {
    let Some((_lab, server, client)) = pair("steady") else { return };
    let _teller = server.tell(&[80]).unwrap();
    for (proto, address) in
        [("tcp", "10.1.0.2:80"), ("tcp", "[fd01::2]:80"), ("udp", "[fd01::2]:80")]
    {
        let prober = client.probe(proto, address, 200).unwrap();
        prober.answers(20, LIMIT).unwrap();
        let seen = prober.stop().unwrap();
        assert!(seen.is_flawless(), "{proto} {address}: {seen}");
        assert_eq!(seen.servers(), ["server"], "{seen}");
        assert!(seen.longest_gap > Duration::ZERO && seen.longest_gap < LIMIT, "{seen}");
        assert_eq!(seen.slowest > Duration::ZERO, proto == "tcp", "{seen}");
    }
}

#[test]
fn no_more_is_begun_than_the_pace_allows() {
    let Some((_lab, server, client)) = pair("pace") else { return };
    let _teller = server.tell(&[80]).unwrap();
    let began = Instant::now();
    let prober = client.probe("tcp", "10.1.0.2:80", 50).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let seen = prober.stop().unwrap();
    let most = began.elapsed().as_millis() / 20 + 1;
    assert!(u128::from(seen.attempts) <= most && seen.attempts > 1, "{most}: {seen}");
}

#[test]
fn a_server_that_goes_away_is_failures_and_a_gap() {
    let Some((_lab, server, client)) = pair("gone") else { return };
    let teller = server.tell(&[80]).unwrap();
    for proto in ["tcp", "udp"] {
        assert_eq!(client.told(proto, "10.1.0.2:80").unwrap().hostname, "server");
    }
    let probers = ["tcp", "udp"].map(|proto| client.probe(proto, "10.1.0.2:80", 200).unwrap());
    probers.iter().for_each(|it| it.answers(5, LIMIT).unwrap());
    drop(teller);
    let gone = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let _teller = server.tell(&[80]).unwrap();
    for prober in probers {
        prober.answers(5, LIMIT).unwrap();
        let seen = prober.stop().unwrap();
        assert!(seen.failed > 0 && seen.longest_gap >= Duration::from_millis(250), "{seen}");
        let Some(first) = seen.failures.first() else { panic!("{seen}") };
        assert!(first.reason.contains("refused") || first.reason.contains("reset"), "{seen}");
        assert!(first.at + LIMIT > gone, "{seen}");
        assert!(!seen.is_flawless());
    }
}

#[test]
fn a_server_that_takes_over_is_named_with_its_time() {
    let Some((_lab, server, client)) = pair("takes over") else { return };
    let teller = server.tell(&[80]).unwrap();
    let prober = client.probe("udp", "10.1.0.2:80", 200).unwrap();
    prober.reaches("server", LIMIT).unwrap();
    drop(teller);
    let moved = Instant::now();
    // The same namespace under another name tells that name.
    let _teller = server.with_inside("next", server.netns().try_clone().unwrap()).tell(&[80]);
    let first = prober.reaches("next", LIMIT).unwrap();
    let seen = prober.stop().unwrap();
    assert_eq!(seen.servers(), ["server", "next"], "{seen}");
    assert_eq!(seen.reached("next", moved), Some(first - moved));
    assert_eq!(seen.reached("next", Instant::now()), Some(Duration::ZERO));
    assert_eq!(seen.reached("server", Instant::now()), None);
}

#[test]
fn half_an_answer_and_silence_are_failures() {
    let Some((_lab, server, client)) = pair("cut") else { return };
    let listener = server.tcp_listen("10.1.0.2:80").unwrap();
    let prober = client.probe("tcp", "10.1.0.2:80", 20).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort").unwrap();
    drop(stream);
    let failed = wait::until(LIMIT, "a failure", || prober.so_far().failures.first().cloned());
    let reason = failed.unwrap().reason;
    // The question may not have been read when the stream was closed.
    assert!(reason.contains("cut off") || reason.contains("reset"), "{reason}");
    // Those that wait in the queue end when it does.
    drop(listener);
    let seen = prober.stop().unwrap();
    assert_eq!((seen.answered, seen.failed), (0, seen.attempts), "{seen}");
}
