//! Answers that no engine gives, and silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use wharf_engine::{Engine, Engines, Error, Event, Sockets};

use super::scene::{expect, loss};
use super::stranger::{LIMIT, Stranger};

const START: &[u8] = br#"{"Type":"container","Action":"start","Actor":{"ID":"4f3c"}}"#;

async fn refusal(stranger: &Stranger) -> Error {
    let error = stranger.engines.find(Engine::Docker, "web").await.unwrap_err();
    assert!(error.to_string().len() < 800, "{error}");
    error
}

fn started() -> Event {
    Event::Started { id: "4f3c".to_owned() }
}

#[tokio::test]
async fn nobody_there_is_told_with_the_remedy() {
    let nowhere = || "/does/not/exist".into();
    let engines = Engines::new(Sockets { docker: nowhere(), podman: nowhere() });
    let error = engines.find(Engine::Podman, "web").await.unwrap_err();
    let expected = "podman is not running: cannot connect to /does/not/exist: No such file or \
                    directory (os error 2); start its API (`systemctl start podman.socket`), or \
                    set WHARF_PODMAN_SOCKET to its socket";
    assert_eq!(error.to_string(), expected);
    let reason = loss(&mut engines.watch(Engine::Podman)).await;
    assert_eq!(reason, expected);
}

#[tokio::test]
async fn what_is_not_understood_is_an_error() {
    for body in ["", "{", "null", "[]", "<html>", "{\"Id\":5}", "{\"Id\":\"a/b\",\"Name\":\"\"}"] {
        let stranger = Stranger::new(move |request| request.json(body));
        let error = refusal(&stranger).await;
        assert!(matches!(error, Error::NotUnderstood { .. }), "{body}: {error}");
    }
    let deep = "[".repeat(1 << 20);
    let stranger = Stranger::new(move |request| request.json(&deep));
    assert!(matches!(refusal(&stranger).await, Error::NotUnderstood { .. }));
    let long = format!("{{\"Id\":{{\"{}\":1}}}}", "x".repeat(1 << 20));
    let stranger = Stranger::new(move |request| request.json(&long));
    assert!(matches!(refusal(&stranger).await, Error::NotUnderstood { .. }));
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    for bytes in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 abc\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let stranger = Stranger::new(move |request| request.raw(bytes.as_bytes()));
        let error = refusal(&stranger).await;
        assert!(matches!(error, Error::NotUnderstood { .. }), "{bytes}: {error}");
    }
    let many = "x: y\r\n".repeat(100_000);
    let stranger = Stranger::new(move |request| {
        request.raw(format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes())
    });
    assert!(matches!(refusal(&stranger).await, Error::NotUnderstood { .. } | Error::Broken { .. }));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_engines_words() {
    let body = r#"{"message":"multiple IDs found with provided prefix: 4\u001b[2J"}"#;
    let stranger = Stranger::new(move |request| request.answer("400 Bad Request", body));
    let text = refusal(&stranger).await.to_string();
    assert_eq!(text, "docker refused (400): multiple IDs found with provided prefix: 4[2J");
    let stranger = Stranger::new(|request| request.answer("404 Not Found", "page not found"));
    let text = refusal(&stranger).await.to_string();
    assert_eq!(text, "docker has no container \"web\"; `docker ps --all` lists those it has");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let stranger = Stranger::new(move |request| {
        request.endless();
        while request.chunk(&[b' '; 1 << 16]) {
            count.fetch_add(1 << 16, Ordering::Relaxed);
        }
        false
    });
    assert!(matches!(refusal(&stranger).await, Error::NotUnderstood { .. }));
    assert!(taken.load(Ordering::Relaxed) < 40 << 20);
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_an_error() {
    let stranger = Stranger::new(|_| false);
    assert!(matches!(refusal(&stranger).await, Error::Broken { .. }));
    let stranger = Stranger::new(|request| {
        request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"Id\":");
        false
    });
    assert!(matches!(refusal(&stranger).await, Error::Broken { .. }));
}

#[tokio::test]
async fn silence_and_slowness_have_a_limit() {
    let drip = |request: &mut super::stranger::Request| {
        request.endless();
        while request.chunk(b" ") {
            sleep(Duration::from_millis(50));
        }
        false
    };
    for stranger in [Stranger::new(|request| request.wait_for_end()), Stranger::new(drip)] {
        let begun = Instant::now();
        assert!(matches!(refusal(&stranger).await, Error::Timeout { .. }));
        assert!(begun.elapsed() < LIMIT * 2);
    }
}

#[tokio::test]
async fn a_hanging_engine_counts_as_lost() {
    let stranger = Stranger::new(|request| request.wait_for_end());
    let reason = loss(&mut stranger.engines.watch(Engine::Docker)).await;
    assert!(reason.starts_with("docker gave no answer within 3s"), "{reason}");
}

#[tokio::test]
async fn an_engine_that_says_nothing_before_the_first_event_is_followed() {
    let connected = Arc::new(AtomicBool::new(false));
    let speaks = Arc::clone(&connected);
    let stranger = Stranger::alive(move |request| {
        while !speaks.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(10));
        }
        request.endless() && request.chunk(START) && request.chunk(b"\n") && request.wait_for_end()
    });
    let mut watch = stranger.engines.watch(Engine::Podman);
    expect(&mut watch, &Event::Connected).await;
    connected.store(true, Ordering::Relaxed);
    expect(&mut watch, &started()).await;
    assert_eq!(stranger.connections(), 1);
}

#[tokio::test]
async fn nonsense_among_events_ends_the_connection_and_it_is_tried_again() {
    let stranger = Stranger::alive(|request| {
        request.endless();
        request.chunk(START);
        request.chunk(b"\n<html>\n");
        request.wait_for_end()
    });
    let mut watch = stranger.engines.watch(Engine::Docker);
    for _ in 0..2 {
        expect(&mut watch, &Event::Connected).await;
        expect(&mut watch, &started()).await;
        let reason = loss(&mut watch).await;
        assert!(reason.contains("not understood: an event: expected value"), "{reason}");
    }
    stranger.vanish();
}

#[tokio::test]
async fn an_event_too_long_to_keep_means_to_look_again() {
    let stranger = Stranger::alive(|request| {
        request.endless();
        for _ in 0..40 {
            request.chunk(&[b'x'; 1 << 16]);
        }
        request.chunk(b"\n");
        request.chunk(START);
        request.chunk(b"\n");
        request.wait_for_end()
    });
    let mut watch = stranger.engines.watch(Engine::Docker);
    expect(&mut watch, &Event::Connected).await;
    expect(&mut watch, &Event::Connected).await;
    assert_eq!(stranger.connections(), 1);
}

#[tokio::test]
async fn an_engine_that_ends_at_once_is_not_asked_all_the_time() {
    let stranger = Stranger::alive(|_| false);
    let watch = stranger.engines.watch(Engine::Docker);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // 0.1, 0.2, 0.4, 0.8 s between them.
    assert!((2..=6).contains(&stranger.connections()), "{}", stranger.connections());
    drop(watch);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = stranger.connections();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stranger.connections(), before);
}

#[tokio::test]
async fn a_dropped_watch_closes_its_connection() {
    let closed = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&closed);
    let stranger = Stranger::alive(move |request| {
        request.endless();
        request.wait_for_end();
        note.store(true, Ordering::Relaxed);
        false
    });
    let mut watch = stranger.engines.watch(Engine::Docker);
    expect(&mut watch, &Event::Connected).await;
    drop(watch);
    let deadline = Instant::now() + LIMIT;
    while !closed.load(Ordering::Relaxed) {
        assert!(Instant::now() < deadline, "the connection stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn few_are_asked_at_once() {
    let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, high) = (Arc::clone(&busy), Arc::clone(&most));
    let stranger = Stranger::new(move |request| {
        high.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        request.answer("404 Not Found", "{}")
    });
    let asked: Vec<_> = (0..40)
        .map(|_| {
            let engines = stranger.engines.clone();
            tokio::spawn(async move { engines.find(Engine::Docker, "web").await })
        })
        .collect();
    for one in asked {
        assert!(matches!(one.await.unwrap(), Err(Error::NoContainer { .. })));
    }
    assert!(most.load(Ordering::SeqCst) <= 4);
}
