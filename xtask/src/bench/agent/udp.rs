//! The client's side of UDP loads.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use wharf_host::datagram::{Segmentation, Train, send_train};

use super::tcp::{MESSAGE, opened};
use super::window::{Meter, Window};

/// The payload of a QUIC packet on an Ethernet.
const DATAGRAM: u16 = 1400;
/// Datagrams handed to the kernel at once (`UDP_SEGMENT`): what QUIC stacks send, between the 10 of
/// the careful and the 46 that fit.
const BUNDLE: usize = 16;
/// The loss that counts as none.
const TOLERATED: f64 = 0.01;
/// Where the search for a clean pace begins and ends, in Gbit/s, and how often it halves what is
/// between: 7 halvings of an 11-octave span leave 6 %.
const SEARCHED: (f64, f64) = (0.05, 100.0);
const HALVINGS: usize = 7;
/// Sleeping is not exact enough for less.
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);
/// Longer than any exchange that was not lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// What is on its way when the sender stops has arrived when the count has not moved for this long.
const QUIET: Duration = Duration::from_millis(10);
const QUIET_LIMIT: Duration = Duration::from_millis(300);

/// Sends as fast as the kernel takes it.
pub(crate) fn flood(to: SocketAddr, count: SocketAddr, lasting: Duration) -> Result<Window> {
    let mut sender = Sender::new(to, count)?;
    let meter = Meter::start()?;
    sender.window(lasting, None)?.with_cpu(&meter)
}

/// Finds the highest pace whose loss is tolerable, by halving on a logarithmic scale.
pub(crate) fn clean(to: SocketAddr, count: SocketAddr, lasting: Duration) -> Result<Window> {
    let mut sender = Sender::new(to, count)?;
    let step = lasting / u32::try_from(HALVINGS)?;
    let (mut low, mut high) = SEARCHED;
    let mut best = Window { loss: Some(1.0), ..Window::default() };
    for _ in 0..HALVINGS {
        let pace = (low * high).sqrt();
        // Once more, for a loss may be a hiccup of the machine.
        let found = match sender.window(step, Some(pace))? {
            lossy if is_lossy(&lossy) => sender.window(step, Some(pace))?,
            fine => fine,
        };
        if is_lossy(&found) {
            high = pace;
        } else {
            low = pace;
            best = if found.rate > best.rate { found } else { best };
        }
    }
    Ok(best)
}

fn is_lossy(window: &Window) -> bool {
    window.loss.is_none_or(|loss| loss > TOLERATED)
}

/// Sends 64 bytes back and forth over `flows` flows.
pub(crate) fn echo(to: SocketAddr, flows: usize, lasting: Duration) -> Result<Window> {
    let flows: io::Result<Vec<Flow>> = (0..flows).map(|_| Flow::connected(to)).collect();
    together(&flows.context("make sockets")?, lasting).with_context(|| format!("ask {to}"))
}

/// Sends 64 bytes back and forth over a socket that is not connected.
pub(crate) fn ask(to: SocketAddr, lasting: Duration) -> Result<Window> {
    let flow = Flow::unconnected(to).context("make a socket")?;
    together(&[flow], lasting).with_context(|| format!("ask {to}"))
}

/// Runs all flows for as long, and measures from the moment each has been answered once.
fn together(flows: &[Flow], lasting: Duration) -> Result<Window> {
    flows.iter().try_for_each(Flow::begin)?;
    let meter = Meter::start()?;
    let begun = Instant::now();
    let end = begun + lasting;
    let found: Result<Vec<Echoes>> = std::thread::scope(|scope| {
        let flows: Vec<_> =
            flows.iter().map(|flow| scope.spawn(move || flow.echoes(end))).collect();
        let joined = flows.into_iter().map(|flow| match flow.join() {
            Ok(outcome) => outcome.context("a flow failed"),
            Err(_panic) => bail!("a thread of the client panicked"),
        });
        joined.collect()
    });
    let found = found?;
    let lost: usize = found.iter().map(|echoes| echoes.lost).sum();
    let times: Vec<Duration> = found.into_iter().flat_map(|echoes| echoes.times).collect();
    let loss = Some(lost as f64 / (lost + times.len()).max(1) as f64);
    Window { loss, ..Window::of_times(times, begun.elapsed()) }.with_cpu(&meter)
}

struct Echoes {
    times: Vec<Duration>,
    lost: usize,
}

/// Datagrams there and back.
pub(crate) struct Flow {
    socket: UdpSocket,
    /// Where each datagram is sent to, over a socket that is not connected.
    to: Option<SocketAddr>,
}

/// Sends numbered datagrams, and asks what became of them.
struct Sender {
    socket: UdpSocket,
    count: TcpStream,
    bundle: Vec<u8>,
    segmentation: Segmentation,
}

// === impl Flow ===

impl Flow {
    /// A flow of its own socket.
    pub(crate) fn connected(to: SocketAddr) -> io::Result<Self> {
        let socket = limited(to)?;
        socket.connect(to)?;
        Ok(Self { socket, to: None })
    }

    fn unconnected(to: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: limited(to)?, to: Some(to) })
    }

    /// Whether 64 bytes came back.
    pub(crate) fn exchange(&self) -> io::Result<bool> {
        let mut message = [0x5a; MESSAGE];
        let answer = match self.to {
            None => self.socket.send(&message).and_then(|_| self.socket.recv(&mut message)),
            Some(to) => {
                self.socket.send_to(&message, to)?;
                self.socket.recv_from(&mut message).map(|(length, _)| length)
            }
        };
        match answer {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The first exchange, which may take a few tries while a proxy makes room for it.
    fn begin(&self) -> io::Result<()> {
        for _ in 0..10 {
            if self.exchange()? {
                return Ok(());
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    fn echoes(&self, end: Instant) -> io::Result<Echoes> {
        let mut found = Echoes { times: Vec::with_capacity(1 << 16), lost: 0 };
        let mut now = Instant::now();
        while now < end {
            let arrived = self.exchange()?;
            let after = Instant::now();
            if arrived {
                found.times.push(after - now);
            } else {
                found.lost += 1;
            }
            now = after;
        }
        Ok(found)
    }
}

/// A socket whose waits are limited.
fn limited(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    Ok(socket)
}

// === impl Sender ===

impl Sender {
    fn new(to: SocketAddr, count: SocketAddr) -> Result<Self> {
        let socket = Flow::connected(to).context("make a socket")?.socket;
        let count = opened(count).context("connect to who counts")?;
        let bundle = vec![0; BUNDLE * usize::from(DATAGRAM)];
        Ok(Self { socket, count, bundle, segmentation: Segmentation::default() })
    }

    /// Sends for `lasting`, at `pace` Gbit/s if given.
    fn window(&mut self, lasting: Duration, pace: Option<f64>) -> Result<Window> {
        let number = self.begin()?;
        let begun = Instant::now();
        let mut sent: u64 = 0;
        while begun.elapsed() < lasting {
            sent += self.send()?;
            if let Some(pace) = pace {
                wait_until(begun + Duration::from_secs_f64(sent as f64 * 8e-9 / pace));
            }
        }
        let took = begun.elapsed();
        let arrived = self.settled(number)?;
        let loss = Some(1.0 - arrived as f64 / sent.max(1) as f64);
        Ok(Window { loss, ..Window::of_bytes(arrived, took) })
    }

    /// Numbers every datagram of the bundle with the time, which goes upwards.
    fn begin(&mut self) -> Result<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
        let number = u64::try_from(now.as_nanos()).context("a clock beyond 2554")?;
        for datagram in self.bundle.chunks_exact_mut(usize::from(DATAGRAM)) {
            if let Some(start) = datagram.first_chunk_mut() {
                *start = number.to_be_bytes();
            }
        }
        Ok(number)
    }

    /// Sends one bundle; what the kernel has no room for was not sent.
    fn send(&mut self) -> io::Result<u64> {
        let bundle = Train::new(&self.bundle, Some(DATAGRAM));
        let sent = send_train(&self.socket, bundle, None, &mut self.segmentation);
        match sent.error {
            Some(error) if !is_passing(&error) => Err(error),
            _ => Ok(u64::try_from(sent.bytes).unwrap_or_default()),
        }
    }

    fn settled(&mut self, number: u64) -> Result<u64> {
        let limit = Instant::now() + QUIET_LIMIT;
        let mut before = self.ask(number)?;
        loop {
            std::thread::sleep(QUIET);
            let now = self.ask(number)?;
            if now == before || Instant::now() > limit {
                return Ok(now);
            }
            before = now;
        }
    }

    fn ask(&mut self, number: u64) -> Result<u64> {
        let mut answer = [0; 8];
        self.count.write_all(&number.to_be_bytes()).context("ask for the count")?;
        self.count.read_exact(&mut answer).context("read the count")?;
        Ok(u64::from_be_bytes(answer))
    }
}

/// An ICMP error that an earlier datagram caused, or a full queue.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::WouldBlock)
        || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

fn wait_until(then: Instant) {
    loop {
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if left > SHORTEST_SLEEP {
            std::thread::sleep(left - SHORTEST_SLEEP);
        } else {
            std::hint::spin_loop();
        }
    }
}
