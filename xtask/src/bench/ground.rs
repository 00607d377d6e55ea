//! The test hosts: a client, a host with a bridge, and a container behind the bridge.
//!
//! The host forwards, so that the client reaches the container's address, too: that is the direct
//! path, which crosses the same cables and the same bridge as a proxied connection does, and is
//! passed on by the kernel in between.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use wharf_host::link::{Change, Links, Veth};
use wharf_host::process::current_exe;
use wharf_lab::{Host, Lab, Process};

use super::agent::Window;
use super::column::{Column, Service};

/// The host, as the client knows it.
pub(crate) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
/// The container.
pub(crate) const CONTAINER: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 0, 2));

const BRIDGE: &str = "bench0";
const START_LIMIT: Duration = Duration::from_secs(10);
/// How much longer than its window a load may take: connecting, draining, searching.
const LOAD_GRACE: Duration = Duration::from_secs(30);

/// The same for everyone. Listening ports stay below the range that outgoing connections use.
const SYSCTLS: [(&str, &str); 2] = [
    ("net/ipv4/ip_local_port_range", "16384 65535"),
    // A proxy that closes first must not run out of ports.
    ("net/ipv4/tcp_tw_reuse", "1"),
];

const CONGESTION: &str = "net/ipv4/tcp_congestion_control";

/// The hosts, with the server running in the container.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Where proxies run.
    pub(crate) host: Host,
    /// Where load comes from.
    pub(crate) client: Client,
    _server: Process,
    lab: Lab,
}

/// Where load comes from: a host on which load generators are started.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) host: Host,
    /// The container, as this host reaches it without anybody's help.
    pub(crate) container: IpAddr,
    /// Whether single streams are kept steady, which tells smaller differences apart.
    pub(crate) steady: bool,
}

// === impl Ground ===

impl Ground {
    /// Builds the hosts, with a congestion control of their own perhaps, and starts the server.
    pub(crate) fn build(congestion: Option<&str>) -> Result<Self> {
        let lab = Lab::new("bench")?;
        let hosts = hosts(&lab)?;
        if let Some(name) = congestion {
            let chosen = hosts.iter().try_for_each(|host| host.sysctl(CONGESTION, name));
            chosen.with_context(|| {
                format!(
                    "no {name:?} for network namespaces; there is what \
                     net.ipv4.tcp_allowed_congestion_control lists"
                )
            })?;
        }
        let [client, host, container] = hosts;
        let server = serve(&container, CONTAINER)?;
        let client = Client { host: client, container: CONTAINER, steady: false };
        Ok(Self { host, client, _server: server, lab })
    }

    /// A directory for files of proxies; it goes with the ground.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let place = self.lab.directory().join(name);
        std::fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
        Ok(place)
    }
}

// === impl Client ===

impl Client {
    /// Runs one window of `column` to `to`.
    pub(crate) fn window(
        &self,
        column: Column,
        to: SocketAddr,
        lasting: Duration,
    ) -> Result<Window> {
        let [window] = self.load(column, [to], lasting)?;
        Ok(window)
    }

    /// Runs a window of `column` to each of `ends`, in slices that alternate.
    pub(crate) fn windows(
        &self,
        column: Column,
        ends: [SocketAddr; 2],
        lasting: Duration,
    ) -> Result<[Window; 2]> {
        self.load(column, ends, lasting)
    }

    fn load<const ENDS: usize>(
        &self,
        column: Column,
        ends: [SocketAddr; ENDS],
        lasting: Duration,
    ) -> Result<[Window; ENDS]> {
        let count = SocketAddr::new(self.container, Service::Count.port());
        let mut command = agent("load");
        command.args(["--column", &column.name(), "--count", &count.to_string()]);
        command.args(["--seconds", &lasting.as_secs_f64().to_string()]);
        for (option, end) in ["--to", "--beside"].into_iter().zip(&ends) {
            command.arg(option).arg(end.to_string());
        }
        if self.steady {
            command.arg("--steady");
        }
        command.stdin(Stdio::null());
        let output = self.host.output(command, lasting * 2 + LOAD_GRACE)?;
        let failed = || format!("{} to {ends:?}: {}", column.name(), output.stderr.trim());
        ensure!(output.is_success(), failed());
        let found: Vec<Window> =
            serde_json::from_str(&output.stdout).context("read what the load generator wrote")?;
        found.try_into().map_err(|_| anyhow!("the load generator wrote other windows"))
    }
}

/// Starts everything the columns need in a container, and waits until it is there.
pub(crate) fn serve(container: &Host, at: IpAddr) -> Result<Process> {
    let mut command = agent("serve");
    command.arg("--at").arg(at.to_string()).stdin(Stdio::piped());
    let mut server = container.spawn(command)?;
    server.wait_for("ready", START_LIMIT)?;
    Ok(server)
}

/// This very program, as one end of a measurement.
pub(crate) fn agent(verb: &str) -> Command {
    let mut command = Command::new(current_exe());
    command.args(["bench-agent", verb]);
    command
}

fn hosts(lab: &Lab) -> Result<[Host; 3]> {
    let (client, host) = (lab.host("client")?, lab.host("host")?);
    let container = lab.host("container")?;
    lab.link(&client, &["10.1.0.1/24"], &host, &["10.1.0.2/24"])?;
    plug(&host, &container)?;
    host.forward()?;
    client.route("172.30.0.0/24", "10.1.0.2")?;
    container.default_route_via("172.30.0.1")?;
    let hosts = [client, host, container];
    for host in &hosts {
        tune(host)?;
    }
    Ok(hosts)
}

/// Sets what is the same on every host.
pub(crate) fn tune(host: &Host) -> Result<()> {
    SYSCTLS.iter().try_for_each(|(name, value)| host.sysctl(name, value))
}

/// Puts the container behind a bridge, as every container engine does.
fn plug(host: &Host, container: &Host) -> Result<()> {
    let mut links = Links::open_in(host.netns())?;
    links.add_bridge(BRIDGE, None, None)?;
    let bridge = links.index(BRIDGE)?;
    links.add_veth(Veth {
        name: "port0",
        peer_name: "eth0",
        peer_netns: container.netns(),
        peer_mac: None,
        mtu: None,
        master: Some(bridge),
    })?;
    let gateway = "172.30.0.1/24".parse().context("an address")?;
    let address = Change::Address { link: bridge, net: gateway };
    links.apply(&[address, Change::Up(BRIDGE), Change::Up("port0")])?;
    let mut inside = Links::open_in(container.netns())?;
    let (link, net) = (inside.index("eth0")?, "172.30.0.2/24".parse().context("an address")?);
    inside.apply(&[Change::Address { link, net }, Change::Up("eth0")])?;
    ensure!(links.settle("port0")?, "the container's cable carries nothing");
    Ok(())
}

/// The directory that holds both this program and the one that is measured.
pub(crate) fn built() -> Result<PathBuf> {
    let exe = current_exe();
    exe.parent().map(Path::to_owned).context("a program without a directory")
}
