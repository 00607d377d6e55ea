use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use tempfile::TempDir;
use wharf_host::fdpass::{recv_frame, send_frame};
use wharf_spec::Proto;

use super::*;
use crate::protocol::{MAX_REQUEST, Request, Response, VERSION};

/// A relay that leaves the first caller without an answer, until that gives up; then it does `rest`.
fn slow_relay(dir: &TempDir, rest: fn(UnixListener)) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket_path(dir.path())).unwrap();
    std::thread::spawn(move || {
        let (first, _) = listener.accept().unwrap();
        while let Ok(Some(_)) = recv_frame(&first, MAX_REQUEST) {}
        rest(listener);
    })
}

/// Grants callers everything, until one has stayed for its lease.
fn grant(listener: UnixListener) {
    while !grant_next(&listener) {}
}

/// Whether the caller got as far as a lease: a busy machine may keep it waiting too long.
fn grant_next(listener: &UnixListener) -> bool {
    let (caller, _) = listener.accept().unwrap();
    let mut leased = false;
    while let Ok(Some((request, _))) = recv_frame(&caller, MAX_REQUEST) {
        let request = serde_json::from_slice(&request).unwrap();
        let opens = matches!(request, Request::Open { .. });
        let answer = match request {
            Request::Hello { .. } => {
                let (pid, namespace) = (std::process::id(), own_namespace().unwrap());
                Response::Hello { version: VERSION, pid, namespace, release: String::new() }
            }
            _ => Response::Done,
        };
        let sent = send_frame(&caller, &serde_json::to_vec(&answer).unwrap(), &[]);
        leased |= opens && sent.is_ok();
    }
    leased
}

/// Has a port whose relay has ended look for the next one; what serves it then.
fn renewed(dir: &TempDir) -> (Option<Lease>, Option<Own>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (listen, target) = (listener.local_addr().unwrap(), "127.0.0.1:9".parse().unwrap());
    let port = Port::adopt(Forward { proto: Proto::Tcp, listen, target }, listener.into()).unwrap();
    let (_starter, stop) = UnixStream::pair().unwrap();
    let mut service = Service {
        port: &port,
        relay: socket_path(dir.path()),
        namespace: own_namespace().unwrap(),
        stop: stop.as_fd(),
        lease: None,
        own: None,
        look: LOOK,
    };
    assert!(service.renew());
    assert_eq!(service.look, LOOK);
    (service.lease.take(), service.own.take())
}

#[test]
fn a_relay_that_is_busy_is_waited_for() {
    let dir = TempDir::new().unwrap();
    let relay = slow_relay(&dir, grant);
    let (lease, own) = renewed(&dir);
    assert!(lease.is_some() && own.is_none());
    drop(lease);
    relay.join().unwrap();
}

#[test]
fn a_relay_that_was_busy_and_ends_is_not_waited_for() {
    let dir = TempDir::new().unwrap();
    let relay = slow_relay(&dir, drop);
    let began = Instant::now();
    let (lease, own) = renewed(&dir);
    assert!(lease.is_none() && began.elapsed() < SILENCE_LIMIT);
    own.unwrap().stop();
    relay.join().unwrap();
}
