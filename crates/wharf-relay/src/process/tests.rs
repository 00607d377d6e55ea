use std::thread;

use super::*;
use crate::client::RelayClient;

/// Of a relay that has left, and its successor's connection; how long it takes to end once `then` has
/// happened.
fn takes_to_end(then: impl FnOnce(&mut Option<RelayClient>)) -> Duration {
    let dir = tempfile::TempDir::new().unwrap();
    let mut relay = Relay::start(RelayConfig::new(dir.path())).unwrap();
    let mut successor = RelayClient::connect_to_old(&socket_path(dir.path())).unwrap();
    // One before it has left says nothing of the last connections.
    successor.list().unwrap();
    successor.hand_over().unwrap();
    successor.leave(60).unwrap();
    let mut successor = Some(successor);
    let End::Drained(limit) = relay.wait().unwrap() else { panic!("it was to be drained") };
    let took = thread::scope(|scope| {
        let drained = scope.spawn(|| relay.drain(limit).unwrap());
        thread::sleep(3 * DRAIN_POLL);
        assert!(!drained.is_finished(), "nobody has read what it counted");
        let began = Instant::now();
        then(&mut successor);
        drained.join().unwrap();
        began.elapsed()
    });
    relay.stop();
    took
}

#[test]
fn a_relay_that_leaves_stays_until_its_successor_has_read_what_it_counted() {
    let took = takes_to_end(|successor| drop(successor.as_mut().unwrap().list().unwrap()));
    assert!(took < LAST_WORDS, "{took:?}");
}

#[test]
fn a_relay_whose_successor_is_gone_waits_for_nobody() {
    let took = takes_to_end(|successor| drop(successor.take()));
    assert!(took < LAST_WORDS, "{took:?}");
}
