//! The host: an instance of ours with a container, and Docker's means beside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wharf_lab::{Iptables, Process};

use super::way::{Kind, Path, Way};
use crate::bench::contender::{Mapping, Programs, await_answers, docker_proxy};
use crate::bench::ground::{Client, Ground, serve, tune};
use crate::bench::site::{Site, TARGET};

/// Docker's name for the bridge of its default network; here nothing comes in by it.
const BRIDGE: &str = "docker0";

/// The same few ports are used again and again, by everybody and on the way to one server.
const SYSCTLS: [(&str, &str); 3] = [
    // Connection tracking forgets what has ended; its table would be full of it.
    ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1"),
    ("net/netfilter/nf_conntrack_tcp_timeout_close", "1"),
    // One clock for all destinations: where rules rewrite them, the server meets clients with the
    // address and port of one that has just gone, and turns away those whose clocks are behind.
    ("net/ipv4/tcp_timestamps", "2"),
];

/// Everybody's ports, which answer; dropping it ends everything.
#[derive(Debug)]
pub(crate) struct LocalHost {
    _proxies: Programs,
    /// For clients over IPv6; the site has one for IPv4.
    _server: Process,
    v6: IpAddr,
    bare: Ground,
    site: Site,
}

// === impl LocalHost ===

impl LocalHost {
    /// Starts everything that `kinds` need, and waits until it answers.
    pub(crate) fn start(program: &std::path::Path, kinds: &[Kind]) -> Result<Self> {
        let site = Site::start("local", program)?;
        let (host, container) = (&site.scene.host, site.scene.wharf.container(TARGET)?);
        [host, &container].into_iter().try_for_each(tune)?;
        SYSCTLS.iter().try_for_each(|(name, value)| host.sysctl(name, value))?;
        let address = site.scene.wharf.network_setting(TARGET, "GlobalIPv6Address");
        let v6 = address.parse().with_context(|| format!("its IPv6 address {address:?}"))?;
        let server = serve(&container, v6)?;
        site.publish_all(&specs(kinds))?;
        let mut proxies = Vec::new();
        if kinds.contains(&Kind::DockerProxy) {
            proxies = docker_proxies(site.container, v6)?;
        }
        let proxies = Programs::start(host, proxies)?;
        if kinds.contains(&Kind::DockerNat) {
            let rules = docker_rules(site.container, &Kind::DockerNat.mappings());
            Iptables::Nft.restore(host, "iptables", &rules)?;
        }
        let bare = Ground::build(None)?;
        let started = Self { _proxies: proxies, _server: server, v6, bare, site };
        started.await_all(kinds)?;
        Ok(started)
    }

    /// The ways of these kinds that begin at `path`, and the direct one before them.
    pub(crate) fn ways(&self, path: Path, kinds: &[Kind]) -> Vec<Way> {
        let of_path = path.kinds().iter().copied();
        let chosen = of_path.filter(|kind| *kind == Kind::Direct || kinds.contains(kind));
        chosen.map(|kind| Way { path, kind, client: self.client(path, kind) }).collect()
    }

    fn client(&self, path: Path, kind: Kind) -> Client {
        if kind == Kind::Bare {
            let Client { container, .. } = self.bare.client;
            return Client { host: self.bare.host.clone(), container, steady: true };
        }
        let container = if path == Path::Loopback6 { self.v6 } else { self.site.container };
        Client { host: self.site.scene.host.clone(), container, steady: true }
    }

    fn await_all(&self, kinds: &[Kind]) -> Result<()> {
        for path in Path::ALL {
            for way in self.ways(path, kinds).iter().filter(|way| !way.kind.is_direct()) {
                await_answers(&way.client.host, path.address(), &way.kind.mappings())
                    .with_context(|| format!("{} at {}", way.kind.name(), path.name()))?;
            }
        }
        if kinds.contains(&Kind::Ours) { self.is_led() } else { Ok(()) }
    }

    /// Where the hooks cannot be had, the relay would be measured in their place.
    fn is_led(&self) -> Result<()> {
        for port in Kind::Ours.mappings().iter().map(|it| it.port.to_string()) {
            let listed = self.site.scene.wharf.ports_at(&port);
            let paths = listed.iter().filter_map(|it| it.get("paths")?.as_array()).flatten();
            let text = |path: &Value, key: &str| {
                path.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let own: Vec<&Value> =
                paths.filter(|path| text(path, "path").starts_with("host-")).collect();
            ensure!(!own.is_empty(), "port {port}: no path of the host's own processes is listed");
            for path in own {
                let plane = text(path, "plane");
                ensure!(
                    plane == "ebpf",
                    "port {port} is served by the {plane} plane here: {}",
                    text(path, "reason")
                );
            }
        }
        Ok(())
    }
}

/// What is published by us, each kind's ports for each service.
fn specs(kinds: &[Kind]) -> Vec<String> {
    let ours = kinds.iter().filter_map(|kind| Some((kind, kind.option()?)));
    let spec = |Mapping { port, service }: &Mapping, option: &str| {
        let proto = if service.is_udp() { "/udp" } else { "" };
        format!("{port}:{}{proto}{option}", service.port())
    };
    ours.flat_map(|(kind, option)| {
        kind.mappings().iter().map(|mapping| spec(mapping, option)).collect::<Vec<_>>()
    })
    .collect()
}

/// As dockerd starts them: one for each port and family.
fn docker_proxies(v4: IpAddr, v6: IpAddr) -> Result<Vec<Command>> {
    let ends: [(IpAddr, IpAddr); 2] =
        [(Ipv4Addr::UNSPECIFIED.into(), v4), (Ipv6Addr::UNSPECIFIED.into(), v6)];
    let mappings = Kind::DockerProxy.mappings();
    let each = ends.iter().flat_map(|ends| mappings.iter().map(move |mapping| (ends, mapping)));
    each.map(|((at, container), mapping)| docker_proxy(mapping, *at, *container)).collect()
}

/// What dockerd writes for these ports of a container, but for its filter.
fn docker_rules(container: IpAddr, mappings: &[Mapping]) -> String {
    let mut rules = "*nat\n:DOCKER - [0:0]\n\
         -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
         -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER\n"
        .to_owned();
    rules += &format!("-A DOCKER -i {BRIDGE} -j RETURN\n");
    for Mapping { port, service } in mappings {
        let (proto, to) = (if service.is_udp() { "udp" } else { "tcp" }, service.port());
        rules += &format!(
            "-A POSTROUTING -s {container}/32 -d {container}/32 -p {proto} -m {proto} \
             --dport {to} -j MASQUERADE\n\
             -A DOCKER ! -i {BRIDGE} -p {proto} -m {proto} --dport {port} -j DNAT \
             --to-destination {container}:{to}\n"
        );
    }
    rules + "COMMIT\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::column::Service;

    #[test]
    fn every_plane_of_ours_has_specs() {
        let all = specs(&Kind::CHOICES);
        assert_eq!(all.len(), 15);
        assert_eq!((all[0].as_str(), all[13].as_str()), ("2000:9000", "2203:9003/udp,via=nft"));
    }

    #[test]
    fn the_rules_lead_to_the_container() {
        let mapping = Mapping { port: 2400, service: Service::Stream };
        let rules = docker_rules("172.30.0.2".parse().unwrap(), &[mapping]);
        let dnat = "-p tcp -m tcp --dport 2400 -j DNAT --to-destination 172.30.0.2:9000\n";
        assert!(rules.contains(dnat) && rules.ends_with("COMMIT\n"));
    }
}
