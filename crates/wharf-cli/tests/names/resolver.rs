//! A resolver on the host, as an administrator would have one: it knows a few names, says how often
//! it was asked, and answers over UDP and TCP.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use wharf_lab::Host;

const TICK: Duration = Duration::from_millis(20);
const DATAGRAM: usize = 512;

pub(super) struct Resolver {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    zone: BTreeMap<String, Vec<Ipv4Addr>>,
    asked: Mutex<Vec<String>>,
    ended: AtomicBool,
}

impl Resolver {
    /// Listens on `address`, port 53, of `host`, and knows `zone`.
    pub(super) fn start(host: &Host, address: &str, zone: &[(&str, &[&str])]) -> Self {
        let at: SocketAddr = format!("{address}:53").parse().unwrap();
        let udp = host.run(|| UdpSocket::bind(at)).unwrap().unwrap();
        let tcp = host.run(|| TcpListener::bind(at)).unwrap().unwrap();
        udp.set_read_timeout(Some(TICK)).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let zone = zone.iter().map(|(name, addresses)| {
            let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
            ((*name).to_owned(), addresses)
        });
        let shared = Arc::new(Shared {
            zone: zone.collect(),
            asked: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let (over_udp, over_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || over_udp.datagrams(&udp)),
            std::thread::spawn(move || over_tcp.connections(&tcp)),
        ];
        Self { shared, threads }
    }

    /// The names it was asked for, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn datagrams(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4_096];
        while !self.ended.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let mut answer = self.answer(&buffer[..length]);
            if answer.len() > DATAGRAM {
                answer.truncate(question_end(&answer));
                answer[2] |= 2;
                answer[7] = 0;
            }
            let _sent = socket.send_to(&answer, from);
        }
    }

    fn connections(&self, listener: &TcpListener) {
        while !self.ended.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(TICK);
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut question).is_ok() {
                let answer = self.answer(&question);
                let mut framed = u16::try_from(answer.len()).unwrap().to_be_bytes().to_vec();
                framed.extend(answer);
                let _sent = stream.write_all(&framed);
            }
        }
    }

    fn answer(&self, question: &[u8]) -> Vec<u8> {
        let name = name(question);
        self.asked.lock().unwrap().push(name.clone());
        let mut answer = question[..question_end(question)].to_vec();
        answer[2] = 0x81;
        answer[3] = 0x80;
        answer[10..12].fill(0);
        let is_address = question[question_end(question) - 3] == 1;
        match self.zone.get(&name) {
            None => answer[3] |= 3,
            Some(addresses) if is_address => {
                answer[7] = u8::try_from(addresses.len()).unwrap();
                for address in addresses {
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                    answer.extend(address.octets());
                }
            }
            Some(_) => {}
        }
        answer
    }
}

fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    at + 5
}

fn name(message: &[u8]) -> String {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).to_lowercase());
        at = end;
    }
    labels.join(".")
}
