use std::os::unix::net::UnixListener;

use super::*;

#[test]
fn an_older_relay_can_be_replaced_and_not_be_used() {
    let dir = tempfile::TempDir::new().unwrap();
    let socket = dir.path().join("relay.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let relay = std::thread::spawn(move || {
        for version in [OLDEST, OLDEST, OLDEST - 1] {
            let (stream, _) = listener.accept().unwrap();
            recv_frame(&stream, MAX_RESPONSE).unwrap();
            let release = String::new();
            let hello = Response::Hello { version, pid: 1, namespace: 2, release };
            send_frame(&stream, &serde_json::to_vec(&hello).unwrap(), &[]).unwrap();
        }
    });
    let version = |result: Result<RelayClient>| match result.unwrap_err() {
        Error::Version { theirs, .. } => theirs,
        other => unreachable!("{other}"),
    };
    assert_eq!(version(RelayClient::connect(&socket)), OLDEST);
    assert_eq!(RelayClient::connect_to_old(&socket).unwrap().namespace(), 2);
    assert_eq!(version(RelayClient::connect_to_old(&socket)), OLDEST - 1);
    relay.join().unwrap();
}

#[test]
fn a_relay_that_says_nothing_is_said_to_have_been_silent_for_the_limit() {
    let dir = tempfile::TempDir::new().unwrap();
    let socket = dir.path().join("relay.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let silent = RelayClient::connect_within(&socket, Duration::from_secs(1));
    assert!(matches!(silent, Err(Error::Silent { seconds: 1 })), "{silent:?}");
}
