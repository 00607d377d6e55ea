//! The scene of these tests, what `wharf ports` says in it, and what others have on the host.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use wharf_lab::{Host, Iptables, Probed, wait};

/// Longer than anything here may honestly take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// As often as a client has to succeed while others change things.
pub(crate) const RATE: u32 = 200;

pub(crate) const REMOTE: [&str; 2] = ["10.1.0.1", "fd01::1"];
/// The port that every scene publishes, by both families.
pub(crate) const AT: [&str; 2] = ["10.1.0.2:8080", "[fd01::2]:8080"];

/// Long enough for an answer inside one machine, shorter than the second after which a lost first
/// packet is sent again.
const SILENCE: Duration = Duration::from_millis(500);

const NFT: &str = "/usr/sbin/nft";

/// Every policy rule that the kernel has not begun with.
pub(crate) const REMOVE_POLICY_RULES: &str = "for f in -4 -6; do
    ip $f rule | grep -v -e ' lookup local' -e ' lookup main' -e ' lookup default' |
    while read -r line; do ip $f rule del pref ${line%%:*}; done
done";

pub(crate) struct Scene(wharf_lab::Scene);

/// One path of a publication: the plane that serves it, and why not a faster one.
pub(crate) struct Served {
    pub(crate) plane: String,
    pub(crate) reason: String,
}

// === impl Scene ===

impl Scene {
    /// `None`, with a word why, where labs cannot be built or `nft` is not installed.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if !std::path::Path::new(NFT).exists() {
            eprintln!("skipped: {NFT} is not installed (Debian: nftables)");
            return None;
        }
        wharf_lab::Scene::builder(name, env!("CARGO_BIN_EXE_wharf")).build().map(Self)
    }

    /// A scene with one more environment variable for everything the program starts.
    pub(crate) fn with_env(self, name: &str, value: &str) -> Self {
        Self(self.0.with_env(name, value))
    }

    /// The same with `wharf/whoami` called `web`, published as 8080 over TCP and UDP.
    pub(crate) fn published(self) -> Self {
        self.whoami("web", ["-p", "8080:80", "-p", "8080:80/udp"]);
        self
    }

    /// How other hosts are served that ask for `ports`, in every protocol and family.
    pub(crate) fn external(&self, ports: &str) -> Vec<Served> {
        let text = |path: &Value, key: &str| path[key].as_str().unwrap_or_default().to_owned();
        let all = self.wharf.ports_at(ports);
        let paths = all.iter().flat_map(|it| it["paths"].as_array().unwrap());
        let external = paths.filter(|path| text(path, "path").starts_with("external"));
        external
            .map(|path| Served { plane: text(path, "plane"), reason: text(path, "reason") })
            .collect()
    }

    /// Waits until `plane` serves all other hosts at port 8080.
    #[track_caller]
    pub(crate) fn until_served_by(&self, plane: &str) {
        let found = wait::until(LIMIT, plane, || {
            let all = self.external("8080");
            (!all.is_empty() && all.iter().all(|path| path.plane == plane)).then_some(())
        });
        found.unwrap_or_else(|error| panic!("{error}: {:#?}", self.wharf.ports()));
    }

    /// Who is seen from the remote host, over both protocols and families.
    #[track_caller]
    pub(crate) fn seen_from_remote(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for address in AT {
            for proto in ["tcp", "udp"] {
                let told = self.remote.told(proto, address);
                let told = told.unwrap_or_else(|e| panic!("{proto} {address}: {e:#}"));
                assert_eq!(told.hostname, "web", "{proto} {address}");
                seen.push(told.source.to_string());
            }
        }
        seen.dedup();
        seen
    }

    /// Whether the remote host is served over both protocols and families.
    pub(crate) fn is_open(&self) -> bool {
        let all = AT.iter().flat_map(|at| ["tcp", "udp"].map(|proto| (proto, *at)));
        all.into_iter().all(|(proto, at)| reaches(&self.remote, proto, at, false))
    }

    /// Whether the remote host is answered on TCP `port` of the host, by either family; `expected`
    /// as in [`reaches`].
    pub(crate) fn connects(&self, port: u16, expected: bool) -> [bool; 2] {
        [format!("10.1.0.2:{port}"), format!("[fd01::2]:{port}")]
            .map(|address| reaches(&self.remote, "tcp", &address, expected))
    }

    /// The warnings that `wharf publish` prints on standard error.
    pub(crate) fn warned(&self, line: &[&str]) -> Vec<String> {
        let output = self.wharf.run([&["publish"], line].concat()).unwrap();
        assert!(output.is_success(), "{output:?}");
        output.stderr.lines().map(str::to_owned).collect()
    }
}

impl Deref for Scene {
    type Target = wharf_lab::Scene;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Runs a shell script on `host`, which must succeed, and returns what it says.
#[track_caller]
pub(crate) fn sh(host: &Host, script: &str) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-ec", script]).stdin(Stdio::null());
    let output = host.output(command, LIMIT).unwrap();
    assert!(output.is_success(), "{script}: {output:?}");
    output.stdout
}

/// All rules on `host` that are not ours, as their own programs list them, without counters.
pub(crate) fn rules_of_others(host: &Host) -> Vec<String> {
    let tables = sh(host, &format!("{NFT} list tables"));
    let theirs = tables.lines().filter(|table| *table != "table inet wharf");
    let mut rules: Vec<String> =
        theirs.map(|table| sh(host, &format!("{NFT} --stateless list {table}"))).collect();
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        let listed = sh(host, &format!("! command -v {program} >/dev/null || {program}"));
        let lasting = listed.lines().filter(|line| !line.starts_with('#'));
        rules.extend(lasting.map(|line| line.split(" [").next().unwrap_or(line).to_owned()));
    }
    rules
}

/// Runs `iptables args…` and `ip6tables args…` on `host`, which must succeed.
#[track_caller]
pub(crate) fn both(iptables: Iptables, host: &Host, args: &[&str]) {
    for program in ["iptables", "ip6tables"] {
        let output = iptables.run(host, program, args).unwrap();
        assert!(output.is_success(), "{program} {args:?}: {output:?}");
    }
}

/// Asserts that nobody was turned away.
#[track_caller]
pub(crate) fn assert_flawless(what: &str, probed: &Probed) {
    eprintln!("{what}: {probed}");
    assert!(probed.is_flawless(), "{what}: {probed}");
}

/// Whether `from` is answered by a teller or `wharf/whoami` at `address`. One that is `expected` to
/// be is asked more than once, for the machine may be busy; what is dropped needs no second chance.
pub(crate) fn reaches(from: &Host, proto: &str, address: &str, expected: bool) -> bool {
    let tries = if expected { 10 } else { 1 };
    (0..tries).any(|_| match proto {
        "udp" => asks_by_udp(from, address).is_ok(),
        _ => asks_by_tcp(from, address).is_ok(),
    })
}

fn asks_by_udp(from: &Host, address: &str) -> anyhow::Result<()> {
    let socket = from.udp(address)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send(b"who is there?")?;
    Ok(socket.recv(&mut [0; 512]).map(drop)?)
}

fn asks_by_tcp(from: &Host, address: &str) -> anyhow::Result<()> {
    let to: SocketAddr = address.parse()?;
    let mut stream = from.run(|| TcpStream::connect_timeout(&to, SILENCE))??;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
    Ok(stream.read_exact(&mut [0; 1])?)
}
