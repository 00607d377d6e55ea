//! What is there, held against the model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use wharf_host::link::Links;
use wharf_host::netlink::Family;
use wharf_host::nftables::{self, Ownership};
use wharf_host::route::Routes;
use wharf_relay::Phase;
use wharf_spec::{HostPorts, PortRange, PortSpec};

use super::control::descriptors;
use super::kernel::{self, nft};
use super::model::{Model, Network, Publication};
use super::site::{STILL, Site};
use super::sockets;

/// Everything is put right within a second, and how long it took is told; a machine that does other
/// things as well gets more, as this is about what is there and not about how soon.
pub(super) const REPAIR_LIMIT: Duration = Duration::from_secs(8);
const STEP: Duration = Duration::from_millis(5);
/// What the program has open besides sockets for ports: more while a container or a flow begins or
/// ends.
const DESCRIPTORS: usize = 48;

/// The kernel's own default; a namespace begins with it.
const FIRST_EPHEMERAL: u16 = 32_768;

/// What is there without any publication, and stays.
#[derive(Debug, Default)]
pub(super) struct Background {
    kernel: BTreeSet<String>,
    sockets: Vec<String>,
    links: Vec<String>,
    rules: BTreeSet<String>,
    /// Whether our table belongs to us.
    pub(super) owned: bool,
}

// === impl Background ===

impl Background {
    pub(super) fn look(site: &Site) -> Result<Self, String> {
        let mut netlink = site.host.netns().open_netlink(Family::Netfilter).map_err(told)?;
        let table = nftables::table(&mut netlink, "wharf").map_err(told)?;
        Ok(Self {
            kernel: kernel_of(site)?,
            sockets: sockets_of(site)?,
            links: links(site)?.into_keys().collect(),
            rules: rules(site)?,
            owned: table.is_some_and(|table| table.ownership == Ownership::Owned),
        })
    }
}

// === impl Site ===

impl Site {
    /// Waits until there is no difference; answers those there are when the time is over. The
    /// model learns the identities of what is new.
    pub(super) fn settle(
        &mut self,
        background: &Background,
        model: &mut Model,
        limit: Duration,
        thorough: bool,
    ) -> Result<Duration, Vec<String>> {
        let began = Instant::now();
        loop {
            let differences = self.differences(background, model, thorough);
            if differences.is_empty() {
                return Ok(began.elapsed());
            }
            if began.elapsed() >= limit {
                return Err(differences);
            }
            std::thread::sleep(STEP);
        }
    }

    fn differences(
        &mut self,
        background: &Background,
        model: &mut Model,
        thorough: bool,
    ) -> Vec<String> {
        let listing = self.host.spawn(nft(["-j", "list", "table", "inet", "wharf"]));
        // For this list the kernel walks through all flows of the machine, so it is asked for
        // when it tells of something new, and now and then; the containers' list comes each time.
        if thorough || model.publications.iter().any(|it| it.id.is_none()) {
            let ledger = self.get("/v1/ports").and_then(|listed| adopt(model, &listed));
            if let Err(difference) = ledger {
                // Without identities there is nothing to compare.
                return vec![difference];
            }
        }
        let mut all = Vec::new();
        all.extend(self.containers(model).err());
        all.extend(self.routes(model).err());
        let found = sockets_of(self);
        let more = model.in_force().flat_map(sockets::wanted);
        let wanted = background.sockets.iter().cloned().chain(more).collect();
        all.extend(found.and_then(|found| compared("socket", wanted, found)).err());
        all.extend(self.links(background, model).err());
        let needed = model.in_force().any(|it| model.keeps_clients(it));
        // Left from before, or not laid yet: it is in nobody's way.
        let counts = |rule: &String| needed || !rule.contains("mark");
        let wanted = background.rules.iter().filter(|rule| counts(rule)).cloned().collect();
        let found = rules(self).map(|found| found.into_iter().filter(counts).collect());
        all.extend(found.and_then(|found| compared("policy rule", wanted, found)).err());
        all.extend(self.descriptors(model).err());
        let wanted = background.kernel.iter().cloned().chain(kernel::wanted(model)).collect();
        let found = listing.map_err(told).and_then(kernel::read);
        let found = found.map(|found| found.into_iter().collect());
        all.extend(found.and_then(|found| compared("table", wanted, found)).err());
        all
    }

    fn containers(&self, model: &Model) -> Result<(), String> {
        let listed = self.get("/v1/containers")?;
        let all = listed.as_array().into_iter().flatten();
        let runs = |it: &Value| it["state"] == "running";
        let mut found = Vec::new();
        for it in all.filter(|it| it["name"] != STILL) {
            let name = text(&it["name"]);
            found.push(format!("{name} runs: {}", runs(it)));
            let published = it["ports"].as_array().into_iter().flatten();
            // Those without a host side are merely exposed.
            let published = published.filter(|port| !port["host"].is_null());
            found.extend(published.map(|port| format!("{name} {}", line_of(port))));
        }
        let wanted = model.containers.iter();
        let wanted = wanted.map(|(name, it)| format!("{name} runs: {}", it.running));
        let published = model.in_force().map(|it| {
            let ports = it.ports.map(|ports| ports.to_string()).unwrap_or_default();
            let place = format!("{} {ports}", joined(&it.addresses));
            format!("{} {} {place} -> {}", it.owner, it.proto, it.target_ports)
        });
        compared("container", wanted.chain(published).collect(), found)
    }

    fn routes(&mut self, model: &Model) -> Result<(), String> {
        let wanted: Vec<String> = model.in_force().map(|it| route_of(model, it)).collect();
        let Some(relay) = self.relay() else {
            return compared("route without a relay", wanted, Vec::new());
        };
        let listed = relay.list().map_err(told)?;
        let serving = listed.iter().filter(|listed| listed.phase != Phase::Leaving);
        let found = serving.map(|listed| {
            let route = &listed.route;
            let at = joined(route.listeners.iter().map(|place| (place.address, place.dual)).map(
                |(address, dual)| if dual { format!("{address}+v4") } else { address.to_string() },
            ));
            let v4 = route.target_v4.map(|it| it.to_string());
            let v6 = route.target_v6.map(|it| it.to_string());
            format!(
                "{} {} {at} {} -> {} {} allow {} header {:?} {:?}",
                route.id,
                route.proto,
                route.host_ports,
                joined(v4.into_iter().chain(v6)),
                route.target_ports,
                joined(&route.allow),
                route.proxy_protocol,
                listed.phase,
            )
        });
        compared("route", wanted, found.collect())
    }

    fn links(&self, background: &Background, model: &Model) -> Result<(), String> {
        let found = links(self)?;
        let wanted = model.containers.values().filter(|it| it.running).count();
        let strange = |name: &&String| !background.links.contains(name);
        let plugged: Vec<&String> = found.keys().filter(strange).collect();
        if plugged.len() != wanted || found.len() != background.links.len() + wanted {
            return Err(format!("links for {wanted} containers: {found:?}"));
        }
        match plugged.iter().find(|name| !found[**name]) {
            Some(name) => Err(format!("link {name} is on no bridge: {found:?}")),
            None => Ok(()),
        }
    }

    fn descriptors(&self, model: &Model) -> Result<(), String> {
        let sockets = model.in_force().flat_map(sockets::wanted).count();
        let relay = self.relay.as_ref().map(|relay| ("relay", relay.pid()));
        for (name, pid) in [Some(("daemon", self.daemon)), relay].into_iter().flatten() {
            let found = descriptors(pid);
            let running = model.containers.values().filter(|it| it.running).count();
            // Its line to the shim and its watch; for the daemon also the sockets that answer for names, and
            // the namespace they are in.
            if found > sockets + DESCRIPTORS + 5 * running {
                return Err(format!("the {name} has {found} descriptors for {sockets} sockets"));
            }
        }
        Ok(())
    }
}

// === impl Publication ===

impl Publication {
    fn adopt(&mut self, entry: &Value) {
        self.id = Some(text(&entry["id"]));
        self.ports = range(&entry["host"]["ports"]);
    }
}

/// Each link, and whether it is a bridge's, or needs none.
fn links(site: &Site) -> Result<BTreeMap<String, bool>, String> {
    let all = Links::open_in(site.host.netns()).and_then(|mut links| links.list()).map_err(told)?;
    let bridges: Vec<u32> = all
        .iter()
        .filter(|it| it.kind.as_deref() == Some("bridge") && it.up)
        .map(|it| it.index)
        .collect();
    let on_bridge = |master: Option<u32>| master.is_some_and(|index| bridges.contains(&index));
    Ok(all.into_iter().map(|it| (it.name, it.up && on_bridge(it.master))).collect())
}

fn sockets_of(site: &Site) -> Result<Vec<String>, String> {
    let netlink = site.host.netns().open_netlink(Family::SockDiag);
    netlink.and_then(|mut netlink| sockets::listening(&mut netlink)).map_err(told)
}

fn rules(site: &Site) -> Result<BTreeSet<String>, String> {
    let rules = Routes::open_in(site.host.netns()).and_then(|mut routes| routes.rules());
    Ok(rules.map_err(told)?.iter().map(ToString::to_string).collect())
}

fn kernel_of(site: &Site) -> Result<BTreeSet<String>, String> {
    let listing = site.host.spawn(nft(["-j", "list", "table", "inet", "wharf"]));
    listing.map_err(told).and_then(kernel::read)
}

fn route_of(model: &Model, publication: &Publication) -> String {
    let owner = &model.containers[&publication.owner];
    let dual = publication.addresses.iter().filter(|it| it.is_unspecified()).count() == 2;
    let places = publication.addresses.iter().filter(|it| !(dual && it.is_ipv4()));
    let places = places
        .map(|it| if dual && it.is_unspecified() { format!("{it}+v4") } else { it.to_string() });
    format!(
        "{} {} {} {} -> {} {} allow {} header {:?} {:?}",
        publication.id.as_deref().unwrap_or_default(),
        publication.proto,
        joined(places),
        publication.ports.map(|it| it.to_string()).unwrap_or_default(),
        joined(&owner.addresses),
        publication.target_ports,
        joined(&publication.options.allow),
        publication.options.proxy_protocol,
        Phase::Open,
    )
}

/// Has the model learn what a request was told of new publications.
pub(super) fn learn(model: &mut Model, told: &Value) {
    let mut left: Vec<&Value> = told.as_array().into_iter().flatten().collect();
    let mut known = model.clone();
    for publication in known.publications.iter_mut().filter(|it| it.id.is_none()) {
        let is_it = |entry: &&Value| is_entry_of(model, publication, entry);
        if let Some(found) = left.iter().position(is_it) {
            publication.adopt(left.remove(found));
        }
    }
    *model = known;
}

/// Holds the ledger's list against the model, which learns what is new in it.
fn adopt(model: &mut Model, listed: &Value) -> Result<(), String> {
    let mut left: Vec<&Value> = listed.as_array().into_iter().flatten().collect();
    let mut known = model.clone();
    // Those whose identity is known first, lest another is taken for one of them.
    let mut order: Vec<usize> = (0..known.publications.len()).collect();
    order.sort_by_key(|place| {
        let it = &model.publications[*place];
        (it.id.is_none(), it.ports.is_none())
    });
    for place in order {
        let wanted = &known.publications[place];
        let found = left.iter().position(|entry| is_entry_of(&known, wanted, entry));
        let Some(found) = found else {
            return Err(format!(
                "ledger: {wanted:?} is not among {}",
                joined(left.iter().map(brief))
            ));
        };
        let entry = left.remove(found);
        known.publications[place].adopt(entry);
    }
    if !left.is_empty() {
        return Err(format!("ledger: besides, there is {}", joined(left.iter().map(brief))));
    }
    for (place, one) in known.publications.iter().enumerate() {
        if let Some(other) = known.publications[..place].iter().find(|other| other.clashes(one)) {
            return Err(format!("ledger: {one:?} and {other:?} have the same port"));
        }
    }
    *model = known;
    Ok(())
}

fn is_entry_of(model: &Model, wanted: &Publication, entry: &Value) -> bool {
    let network = model.network_of(wanted);
    let planes = if wanted.resting { Vec::new() } else { planes_of(wanted, network) };
    let texts = |list: &Value| list.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let strings = |all: &[IpAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    wanted.id.as_ref().is_none_or(|id| entry["id"] == id.as_str())
        && entry["target_name"] == wanted.owner.as_str()
        && entry["protocol"] == wanted.proto.to_string()
        && texts(&entry["host"]["addresses"]) == strings(&wanted.addresses)
        && range(&entry["host"]["ports"]).is_some_and(|ports| may_have(wanted, ports))
        && texts(&entry["target"]["addresses"])
            == strings(&model.containers[&wanted.owner].addresses)
        && range(&entry["target"]["ports"]) == Some(wanted.target_ports)
        && entry["options"] == wanted.options.to_string()
        && entry["state"] == if wanted.resting { "suspended" } else { "active" }
        && texts(&entry["planes"]) == planes
}

/// What serves, kernel NAT first. Of the paths within the host there is one for both families, which
/// is told as it is for IPv4 if the publication has that.
fn planes_of(wanted: &Publication, network: &Network) -> Vec<&'static str> {
    let by_kernel = |v4| if wanted.kernel_serves(network, v4) { "nft" } else { "relay" };
    let led = |v4, other| if wanted.is_led(network, v4) { "ebpf" } else { other };
    let own = |at: &IpAddr| at.is_loopback() || at.is_unspecified();
    let of_family = |v4: bool| wanted.addresses.iter().filter(move |at| at.is_ipv4() == v4);
    let external: Vec<bool> =
        [true, false].into_iter().filter(|v4| wanted.external(*v4).next().is_some()).collect();
    let loopback = [true, false].into_iter().find(|v4| of_family(*v4).any(own));
    let mut planes: BTreeSet<&str> = external.iter().map(|v4| by_kernel(*v4)).collect();
    planes.extend(external.first().map(|v4| led(*v4, by_kernel(*v4))));
    planes.extend(loopback.map(|v4| led(v4, "relay")));
    ["nft", "ebpf", "relay"].into_iter().filter(|plane| planes.contains(plane)).collect()
}

/// Whether a publication has these host ports, or was to be given such ones.
fn may_have(wanted: &Publication, ports: PortRange) -> bool {
    let given = |spec: &PortSpec| match spec.host_ports {
        HostPorts::AnyOf(choice) => choice.overlaps(ports),
        _ => ports.first() >= FIRST_EPHEMERAL,
    };
    match wanted.ports {
        Some(known) => known == ports,
        None => ports.count() == wanted.target_ports.count() && wanted.specs.iter().all(given),
    }
}

fn line_of(port: &Value) -> String {
    let host = &port["host"];
    let addresses = joined(host["addresses"].as_array().into_iter().flatten().map(text));
    let (ports, behind) = (text(&host["ports"]), text(&port["container_ports"]));
    format!("{} {addresses} {ports} -> {behind}", text(&port["protocol"]))
}

fn brief(entry: &&Value) -> String {
    let of = |key: &str| &entry[key];
    let (id, name, state, host) = (of("id"), of("target_name"), of("state"), of("host"));
    format!("{id} {name} {state} {host} {} [{}]", of("planes"), of("options"))
}

fn range(ports: &Value) -> Option<PortRange> {
    let text = ports.as_str()?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    PortRange::new(first.parse().ok()?, last.parse().ok()?)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn joined<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|it| it.to_string()).collect::<Vec<_>>().join(",")
}

/// Every line that only one of the two has.
fn compared(what: &str, mut wanted: Vec<String>, mut found: Vec<String>) -> Result<(), String> {
    wanted.sort();
    found.sort();
    if wanted == found {
        return Ok(());
    }
    let missing = wanted.iter().filter(|it| !found.contains(it)).map(|it| format!("- {it}"));
    let strange = found.iter().filter(|it| !wanted.contains(it)).map(|it| format!("+ {it}"));
    let lines: Vec<String> = missing.chain(strange).collect();
    Err(format!("{what}:\n{}", lines.join("\n")))
}

fn told(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
