//! What a person can do about an obstacle, in the words of the program it belongs to.

use wharf_spec::PortRange;

use super::advice::{Forwarded, Incoming};
use super::obstacle::{Obstacle, Owner};
use super::ruleset::{Backend, TableFamily};

// === impl Forwarded ===

impl Forwarded<'_> {
    /// The commands that would let these packets past `obstacle`, in order.
    pub fn remedy(&self, obstacle: &Obstacle) -> Vec<String> {
        let bridge = self.bridge;
        match obstacle.owner {
            Owner::Ufw => vec![self.ufw_route()],
            Owner::Firewalld => firewalld_policy(bridge),
            Owner::Docker if obstacle.table == "filter" => both_ways(|way| {
                let rule = format!("-{way} {bridge} -m conntrack --ctstate DNAT -j ACCEPT");
                format!("{} -I DOCKER-USER {rule}", iptables(obstacle))
            }),
            _ if is_iptables(obstacle) => both_ways(|way| {
                let rule = format!("-{way} {bridge} -m conntrack --ctstate DNAT -j ACCEPT");
                format!("{} {rule}", insert(obstacle))
            }),
            _ => both_ways(|way| {
                format!("{} {way}ifname \"{bridge}\" ct status dnat accept", insert(obstacle))
            }),
        }
    }

    /// ufw forwards the answers of what it has let through by itself.
    fn ufw_route(&self) -> String {
        match (self.proto, self.target_ports) {
            (Some(proto), Some(ports)) => {
                format!("ufw route allow proto {proto} to any port {}", ufw_ports(ports))
            }
            _ => format!("ufw route allow out on {}", self.bridge),
        }
    }
}

// === impl Incoming ===

impl Incoming<'_> {
    /// The command that would let these packets past `obstacle`.
    pub fn remedy(&self, obstacle: &Obstacle) -> String {
        let (proto, ports) = (self.proto, self.ports);
        match obstacle.owner {
            Owner::Ufw => format!("ufw allow {}/{proto}", ufw_ports(ports)),
            Owner::Firewalld => {
                format!("firewall-cmd {}--add-port={ports}/{proto}", zone(obstacle))
            }
            _ if is_iptables(obstacle) => {
                let rule = format!("-p {proto} --dport {} -j ACCEPT", ufw_ports(ports));
                format!("{} {rule}", insert(obstacle))
            }
            _ => format!("{} {proto} dport {ports} accept", insert(obstacle)),
        }
    }
}

fn both_ways(rule: impl Fn(&str) -> String) -> Vec<String> {
    ["o", "i"].into_iter().map(rule).collect()
}

/// A policy from everywhere to a zone with nothing but our bridge; answers to what a policy let
/// through always pass. Runtime changes cannot make a policy, hence the reload.
fn firewalld_policy(bridge: &str) -> Vec<String> {
    [
        "firewall-cmd --permanent --new-zone=wharf".to_owned(),
        format!("firewall-cmd --permanent --zone=wharf --add-interface={bridge}"),
        "firewall-cmd --permanent --new-policy=to-wharf".to_owned(),
        "firewall-cmd --permanent --policy=to-wharf --add-ingress-zone=ANY".to_owned(),
        "firewall-cmd --permanent --policy=to-wharf --add-egress-zone=wharf".to_owned(),
        "firewall-cmd --permanent --policy=to-wharf --set-target=ACCEPT".to_owned(),
        "firewall-cmd --reload".to_owned(),
    ]
    .into()
}

/// The zone a rule of firewalld's is in, if its chain says: `filter_IN_public`, `IN_public`.
fn zone(obstacle: &Obstacle) -> String {
    let after = obstacle.chain.split_once("IN_").map(|(_, rest)| rest);
    let known = ["_allow", "_deny", "_log", "_pre", "_post"];
    let name =
        after.map(|rest| known.iter().find_map(|end| rest.strip_suffix(end)).unwrap_or(rest));
    name.map(|name| format!("--zone={name} ")).unwrap_or_default()
}

fn is_iptables(obstacle: &Obstacle) -> bool {
    obstacle.owner != Owner::Nftables
        && obstacle.family != TableFamily::Inet
        && obstacle.base_chain.chars().all(|c| c.is_ascii_uppercase())
}

/// The command that puts a rule in front of all others of the base chain.
fn insert(obstacle: &Obstacle) -> String {
    let (table, chain) = (&obstacle.table, &obstacle.base_chain);
    if !is_iptables(obstacle) {
        return format!("nft insert rule {} {table} {chain}", obstacle.family.as_str());
    }
    let table = if table == "filter" { String::new() } else { format!("-t {table} ") };
    format!("{} {table}-I {chain}", iptables(obstacle))
}

fn iptables(obstacle: &Obstacle) -> &'static str {
    match (obstacle.family, obstacle.backend) {
        (TableFamily::Ip6, Backend::IptablesLegacy) => "ip6tables-legacy",
        (TableFamily::Ip6, _) => "ip6tables",
        (_, Backend::IptablesLegacy) => "iptables-legacy",
        _ => "iptables",
    }
}

/// ufw and iptables write ranges with a colon.
fn ufw_ports(ports: PortRange) -> String {
    if ports.is_single() {
        ports.first().to_string()
    } else {
        format!("{}:{}", ports.first(), ports.last())
    }
}
