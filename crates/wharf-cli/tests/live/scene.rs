//! The scene of these tests, and a connection that stays open.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use wharf_lab::{Host, wait};

/// Longer than anything here may honestly take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// What is promised of a hand-over.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);

/// Longer than bytes take between two hosts of a lab, shorter than a second transmission that
/// might hide a fault.
const CARRIED: Duration = Duration::from_secs(2);

pub(crate) struct Scene(wharf_lab::Scene);

/// A connection whose other end is in the hands of the test.
pub(crate) struct Line {
    pub(crate) near: TcpStream,
    pub(crate) far: TcpStream,
}

impl Scene {
    /// `None`, with a word why, where labs cannot be built.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let scene = wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf"));
        scene.settled().build().map(Self)
    }

    /// The same scene where neither Docker nor Podman is to be found, whatever the machine has.
    pub(crate) fn without_engines(self) -> Self {
        let nowhere = self.lab.directory().join("nowhere").display().to_string();
        let scene = self.0.with_env("WHARF_DOCKER_SOCKET", &nowhere);
        Self(scene.with_env("WHARF_PODMAN_SOCKET", &nowhere))
    }

    /// The same scene with the API of an engine at `socket`.
    pub(crate) fn with_engine(self, variable: &str, socket: &Path) -> Self {
        Self(self.0.with_env(variable, &socket.display().to_string()))
    }

    /// A client and an address of the host for each way in.
    pub(crate) fn ways(&self) -> [(&Host, &'static str); 4] {
        let (host, remote) = (&self.host, &self.remote);
        [(remote, "10.1.0.2"), (remote, "[fd01::2]"), (host, "127.0.0.1"), (host, "[::1]")]
    }

    /// `who` answers by every way.
    #[track_caller]
    pub(crate) fn answers(&self, proto: &str, port: u16, who: &str) {
        for (client, address) in self.ways() {
            let at = format!("{address}:{port}");
            let told = client.told(proto, &at).map(|told| told.hostname);
            assert_eq!(told.as_deref().ok(), Some(who), "{} {proto} {at}: {told:?}", client.name());
        }
    }

    /// Nobody answers by any way.
    #[track_caller]
    pub(crate) fn is_closed(&self, proto: &str, port: u16) {
        for (client, address) in self.ways() {
            let at = format!("{address}:{port}");
            assert!(
                client.told(proto, &at).is_err(),
                "{} still reaches {proto} {at}",
                client.name()
            );
        }
    }

    /// A server of the test's own in the container `name`, on `port` of both families.
    pub(crate) fn listens(&self, name: &str, port: u16) -> TcpListener {
        let listener = self.wharf.container(name).unwrap().tcp_listen(&format!("[::]:{port}"));
        let listener = listener.unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }

    /// The host ports of all publications, sorted.
    pub(crate) fn published(&self) -> Vec<String> {
        let all = self.wharf.ports();
        let mut ports: Vec<String> = all
            .iter()
            .map(|it| {
                format!(
                    "{}/{}",
                    it["host"]["ports"].as_str().unwrap(),
                    it["protocol"].as_str().unwrap()
                )
            })
            .collect();
        ports.sort();
        ports
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Line {
    /// Connects `client` to `address`, where `listener` is reached.
    #[track_caller]
    pub(crate) fn open(client: &Host, address: &str, listener: &TcpListener) -> Self {
        let near = client.tcp(address).unwrap();
        let accepted = wait::until(LIMIT, "the other end", || listener.accept().ok());
        let far = accepted.unwrap().0;
        far.set_nonblocking(false).unwrap();
        for end in [&near, &far] {
            end.set_read_timeout(Some(CARRIED)).unwrap();
            end.set_write_timeout(Some(CARRIED)).unwrap();
        }
        let mut line = Self { near, far };
        assert!(line.carries(), "{address}: a line that was dead from the start");
        line
    }

    /// Whether bytes arrive, both ways.
    pub(crate) fn carries(&mut self) -> bool {
        arrives(&mut self.near, &mut self.far) && arrives(&mut self.far, &mut self.near)
    }
}

/// Whether `client` is turned away at `address`, where somebody listens: before the connection is
/// made, or right afterwards.
pub(crate) fn is_shut_out(client: &Host, address: &str) -> bool {
    let Ok(mut stream) = client.tcp(address) else { return true };
    stream.set_read_timeout(Some(CARRIED)).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn arrives(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    let mut bytes = [0; 5];
    from.write_all(b"hello").is_ok() && to.read_exact(&mut bytes).is_ok() && bytes == *b"hello"
}
