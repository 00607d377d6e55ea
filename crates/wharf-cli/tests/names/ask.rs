//! A client of our own, which takes questions and answers apart by hand: what the program is built
//! on must not judge it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::time::Duration;

use wharf_lab::Host;

/// Where a container asks.
pub(super) const SERVER: &str = "127.0.0.11:53";
/// Longer than a question that waits for other resolvers.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const AAAA: u16 = 28;
const OPT: u16 = 41;

pub(super) const NO_ERROR: u8 = 0;
pub(super) const SERVER_FAILURE: u8 = 2;
pub(super) const NO_SUCH_NAME: u8 = 3;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) code: u8,
    pub(super) cut: bool,
    pub(super) data: Vec<String>,
    pub(super) ttl: Option<u32>,
    pub(super) extended: bool,
}

/// Asks over UDP from within `host`.
pub(super) fn ask(host: &Host, name: &str, kind: u16) -> Told {
    try_ask(host, &question(name, kind, None), LIMIT).unwrap()
}

/// The same, and tells that up to `size` bytes may come back.
pub(super) fn ask_extended(host: &Host, name: &str, kind: u16, size: u16) -> Told {
    try_ask(host, &question(name, kind, Some(size)), LIMIT).unwrap()
}

/// The addresses that `name` has for `host`, IPv4 first.
pub(super) fn addresses(host: &Host, name: &str) -> Vec<String> {
    let mut all = ask(host, name, A).data;
    all.extend(ask(host, name, AAAA).data);
    all
}

pub(super) fn try_ask(host: &Host, question: &[u8], limit: Duration) -> std::io::Result<Told> {
    let socket = host.run(|| UdpSocket::bind("127.0.0.1:0")).unwrap()?;
    socket.set_read_timeout(Some(limit))?;
    socket.connect(SERVER)?;
    socket.send(question)?;
    let mut buffer = [0; 65_535];
    let length = socket.recv(&mut buffer)?;
    Ok(read(&buffer[..length], question))
}

/// Asks over TCP from within `host`.
pub(super) fn ask_tcp(host: &Host, name: &str, kind: u16) -> Told {
    let question = question(name, kind, None);
    let mut stream = host.run(|| TcpStream::connect(SERVER)).unwrap().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let told = over_tcp(&mut stream, &question).unwrap();
    // The connection stays for the next question.
    assert_eq!(over_tcp(&mut stream, &question).unwrap().code, told.code);
    told
}

fn over_tcp(stream: &mut TcpStream, question: &[u8]) -> std::io::Result<Told> {
    let mut framed = u16::try_from(question.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(question);
    stream.write_all(&framed)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(read(&message, question))
}

/// `10.0.0.2` as it is asked about.
pub(super) fn reverse(address: &str) -> String {
    match address.parse().unwrap() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let digits = v6.octets().into_iter().rev();
            let nibbles = digits.map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            nibbles.collect::<String>() + "ip6.arpa"
        }
    }
}

pub(super) fn question(name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    let mut message = vec![u8::try_from(name.len()).unwrap(), u8::try_from(kind).unwrap()];
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    if let Some(size) = size {
        message.push(0);
        message.extend(OPT.to_be_bytes());
        message.extend(size.to_be_bytes());
        message.extend([0; 6]);
    }
    message
}

fn read(message: &[u8], question: &[u8]) -> Told {
    assert_eq!(message[..2], question[..2], "another id");
    assert_eq!(message[2] & 0x80, 0x80, "no answer");
    assert_eq!(message[3] & 0x80, 0x80, "no recursion, and a container has nobody else to ask");
    let count = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let mut at = 12;
    for _ in 0..count(4) {
        at = name_at(message, at).1 + 4;
    }
    let (mut data, mut ttl, mut extended) = (Vec::new(), None, false);
    for _ in 0..count(6) + count(8) + count(10) {
        let start = name_at(message, at).1;
        let kind = u16::from_be_bytes([message[start], message[start + 1]]);
        let length = usize::from(u16::from_be_bytes([message[start + 8], message[start + 9]]));
        let body = start + 10;
        if kind == OPT {
            extended = true;
        } else {
            ttl = Some(u32::from_be_bytes(message[start + 4..start + 8].try_into().unwrap()));
            data.push(record(message, kind, body, length));
        }
        at = body + length;
    }
    assert_eq!(at, message.len(), "something follows the answer");
    Told { code: message[3] & 15, cut: message[2] & 2 != 0, data, ttl, extended }
}

fn record(message: &[u8], kind: u16, body: usize, length: usize) -> String {
    let bytes = &message[body..body + length];
    match kind {
        A => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).unwrap()).to_string(),
        AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap()).to_string(),
        PTR => name_at(message, body).0,
        other => format!("type {other}"),
    }
}

/// The name at an offset, and where what follows it begins.
fn name_at(message: &[u8], mut at: usize) -> (String, usize) {
    let (mut labels, mut end) = (Vec::new(), None);
    loop {
        match message[at] {
            0 => return (labels.join("."), end.unwrap_or(at + 1)),
            pointer if pointer & 0xc0 == 0xc0 => {
                end = end.or(Some(at + 2));
                at = usize::from(pointer & 0x3f) << 8 | usize::from(message[at + 1]);
            }
            length => {
                let label = &message[at + 1..at + 1 + usize::from(length)];
                labels.push(String::from_utf8_lossy(label).into_owned());
                at += 1 + usize::from(length);
            }
        }
    }
}
