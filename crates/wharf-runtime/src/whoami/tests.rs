use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use super::*;

/// A server of this process, on a free port of loopback only in what it is asked.
fn server() -> u16 {
    let free = |_| {
        let tcp = listen(0).unwrap();
        let port = tcp.local_addr().unwrap().port();
        // Somebody else on this machine may have it for datagrams.
        udp::Server::bind(port).ok().map(|udp| (tcp, udp, port))
    };
    let (tcp, udp, port) = (0..100).find_map(free).unwrap();
    thread::spawn(move || udp.run());
    thread::spawn(move || accept(&tcp));
    port
}

fn send(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn the_overview_shows_host_addresses_client_and_request() {
    let answer = send(server(), "GET /?q HTTP/1.1\r\nHost: here\r\nX-A: b\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for part in [
        "Hostname: ",
        "IP: 127.0.0.1\n",
        "RemoteAddr: 127.0.0.1:",
        "GET /?q HTTP/1.1\n",
        "X-A: b\n",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
}

#[test]
fn the_api_says_the_same_as_json() {
    let answer = send(server(), "GET /api HTTP/1.1\r\nHost: here\r\n\r\n");
    let value: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(
        (&value["host"], &value["method"], &value["url"]),
        (&"here".into(), &"GET".into(), &"/api".into())
    );
    assert!(value["remoteAddr"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(value["headers"]["Host"][0], "here");
    assert!(value["ip"].as_array().unwrap().contains(&"127.0.0.1".into()));
}

#[test]
fn one_connection_serves_many_requests() {
    let answers = send(
        server(),
        "HEAD /data?size=100 HTTP/1.1\r\n\r\nGET /data?size=100 HTTP/1.1\r\n\r\n\
         POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n\
         GET / HTTP/1.1\r\n\r\n",
    );
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 4, "{answers}");
    assert_eq!(answers.matches("Content-Length: 100\r\n").count(), 2);
    assert!(answers.contains("\r\n\r\nhiHTTP/1.1 404"), "{answers}");
    assert_eq!(answers.matches("abcdefghij").count(), 4, "only one of the two bodies was sent");
}

#[test]
fn sizes_are_streamed_and_bounded() {
    let port = server();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /data?size=20&unit=MB HTTP/1.0\r\n\r\n").unwrap();
    let count = io::copy(&mut stream, &mut io::sink()).unwrap();
    assert!(count > 20 << 20 && count < (20 << 20) + 1000, "{count}");
    for query in ["size=11&unit=GB", "size=x", "size=-1", "size=1&unit=TB"] {
        assert!(send(port, &format!("GET /data?{query} HTTP/1.1\r\n\r\n")).contains(" 400 "));
    }
}

#[test]
fn garbage_is_answered_and_the_connection_ends() {
    let port = server();
    assert!(send(port, "\x16\x03\x01 what\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(
        send(port, "POST /echo HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n").contains(" 413 ")
    );
    assert!(send(port, "GET /health HTTP/1.0\r\n\r\n").ends_with("OK\n"));
}

#[test]
fn a_datagram_is_answered_from_the_address_it_was_sent_to() {
    let port = server();
    for (from, to) in [("127.0.0.1", "127.9.8.7"), ("::1", "::1")] {
        let Ok(socket) = UdpSocket::bind((from, 0)) else { continue };
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // Connected: a reply from another address would not arrive.
        socket.connect((to, port)).unwrap();
        socket.send(b"hello").unwrap();
        let mut buffer = [0; 1024];
        let count = socket.recv(&mut buffer).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&buffer[..count]).unwrap();
        assert_eq!(value["size"], 5);
        assert_eq!(value["remoteAddr"], socket.local_addr().unwrap().to_string());
    }
}

#[test]
fn words_are_read_or_refused() {
    let words = |text: &str| port(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(words(""), Some(80));
    assert_eq!(words("--port 81"), Some(81));
    assert_eq!(words("--port=81"), Some(81));
    assert_eq!((words("--port"), words("x"), words("--port 99999")), (None, None, None));
}
