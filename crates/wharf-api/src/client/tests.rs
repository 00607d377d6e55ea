use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::*;

#[test]
fn a_name_in_a_path_means_itself() {
    assert_eq!(Part("web-1.a_b").to_string(), "web-1.a_b");
    assert_eq!(Part("a b/../ü?x=1&y#z%").to_string(), "a%20b%2F..%2F%C3%BC%3Fx%3D1%26y%23z%25");
}

/// What a client is told by a daemon that gets one connection and does `what` with it.
fn told(name: &str, what: impl FnOnce(UnixListener) + Send + 'static) -> ClientError {
    let path = std::env::temp_dir().join(format!("wharf-api-{name}-{}.sock", std::process::id()));
    let _stale = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = std::thread::spawn(move || what(listener));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = runtime.block_on(Client::new(&path).post::<_, String>("/v1/x", &"body"));
    daemon.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    told.unwrap_err()
}

fn wait_for_bytes(socket: &std::os::unix::net::UnixStream) {
    let mut fds = [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, None).unwrap(), 1);
}

#[test]
fn a_daemon_that_ends_with_the_request_unread_has_not_heard_it() {
    let error = told("unread", |listener| wait_for_bytes(&listener.accept().unwrap().0));
    assert!(matches!(error, ClientError::Unheard), "{error:?}");
}

#[test]
fn a_daemon_that_ends_before_it_accepts_has_not_heard_the_request() {
    let error = told("unaccepted", |listener| {
        let mut fds = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    });
    assert!(matches!(error, ClientError::Unheard), "{error:?}");
}

#[test]
fn a_daemon_that_ends_with_the_request_read_may_have_carried_it_out() {
    let error = told("read", |listener| {
        let (mut socket, _) = listener.accept().unwrap();
        wait_for_bytes(&socket);
        let mut text = [0; 4096];
        let mut all = Vec::new();
        while !all.ends_with(b"\"body\"") {
            let read = socket.read(&mut text).unwrap();
            all.extend_from_slice(&text[..read]);
        }
    });
    assert!(matches!(error, ClientError::Unanswered), "{error:?}");
    assert!(error.to_string().contains("wharf ports"), "{error}");
}

#[test]
fn an_answer_cut_short_is_no_answer() {
    let error = told("cut", |listener| {
        let (mut socket, _) = listener.accept().unwrap();
        wait_for_bytes(&socket);
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12").unwrap();
        let mut rest = Vec::new();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let _read = socket.read_to_end(&mut rest);
    });
    assert!(matches!(error, ClientError::Transport(_)), "{error:?}");
}
