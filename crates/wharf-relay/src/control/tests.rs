use std::io::Read;

use tokio::sync::mpsc;

use super::*;
use crate::context::Context;
use crate::control::answer::Heirlooms;
use crate::limits::Limits;
use crate::table::Table;

fn control() -> (tempfile::TempDir, Control) {
    let dir = tempfile::TempDir::new().unwrap();
    let listener = UnixListener::bind(dir.path().join("relay.sock")).unwrap();
    let lock = std::fs::File::create(dir.path().join("relay.lock")).unwrap();
    let heirlooms = Heirlooms::new(listener.try_clone().unwrap().into(), lock.into());
    let context = Arc::new(Context::new(Limits::default(), 1024).unwrap());
    let table = Arc::new(Table::new(Arc::clone(&context)));
    let (end, _) = mpsc::channel(1);
    let answers = Answers { table, end, namespace: 0, heirlooms, predecessor: None };
    (dir, Control::new(listener, answers, Arc::clone(&context.budget)).unwrap())
}

/// Lets a connection fall quiet; the client's side of it.
fn park(control: &Control, owner: Owner) -> UnixStream {
    let (client, stream) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    control.connections.fetch_add(1, Ordering::Relaxed);
    control.park(owner, Peer { stream, pid: 0, _share: None });
    client
}

fn is_closed(mut client: &UnixStream) -> bool {
    client.read(&mut [0]).is_ok_and(|read| read == 0)
}

#[test]
fn a_connection_that_falls_quiet_after_the_hand_over_is_closed_like_the_others() {
    let (_dir, control) = control();
    let early = park(&control, 1);
    let successor = park(&control, 2);
    assert!(!is_closed(&early));
    // The successor's own is not quiet while it asks.
    let own = control.quiet().remove(&2).unwrap();
    control.poller.remove(&own.stream);
    assert!(control.step_aside(2));
    control.park(2, own);
    let late = park(&control, 3);
    assert!(is_closed(&early) && is_closed(&late) && !is_closed(&successor));
    assert_eq!(control.connections.load(Ordering::Relaxed), 1);
    assert_eq!(*control.cut(), [1, 3]);
    // Once the successor has failed, connections stay open again.
    control.part(2);
    assert!(!is_closed(&park(&control, 4)) && control.cut().is_empty());
}

#[test]
fn what_is_asked_when_the_relay_ends_is_not_answered() {
    let (_dir, control) = control();
    let (client, stream) = UnixStream::pair().unwrap();
    let ask = || {
        send_frame(&client, br#"{"request":"stats"}"#, &[]).unwrap();
        control.converse(&stream, 1).unwrap()
    };
    assert!(ask());
    control.stop();
    assert!(!ask());
}
