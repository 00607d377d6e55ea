//! Who is called what: one table per network, and who may look into which.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// What one network is, as far as names go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The network's name, which can stand behind a container's: `web.backend`.
    pub name: String,
    /// Whether nothing is forwarded out of it; then no question is either.
    pub internal: bool,
}

/// What one container is called on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The network's name.
    pub network: String,
    /// What it is called, its name first: addresses lead back to that one.
    pub names: Vec<String>,
    /// Where it is.
    pub addresses: Vec<IpAddr>,
}

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asker {
    /// The networks it is on. Where several know a name, the first decides.
    pub networks: Vec<String>,
    /// The resolvers it was given for names that are no container's, asked from its own namespace;
    /// the host's when there are none.
    pub resolvers: Vec<IpAddr>,
}

/// Every name of every network, and who sees which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    tables: BTreeMap<String, Table>,
    askers: BTreeMap<String, Asker>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    internal: bool,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, String>,
}

// === impl Directory ===

impl Directory {
    /// A directory of `entries` on `scopes`, for `askers` by identity. Entries on a network that is
    /// not among the scopes are left out.
    pub fn new(
        scopes: impl IntoIterator<Item = Scope>,
        entries: impl IntoIterator<Item = Entry>,
        askers: impl IntoIterator<Item = (String, Asker)>,
    ) -> Self {
        let table =
            |scope: Scope| (scope.name, Table { internal: scope.internal, ..Table::default() });
        let mut tables: BTreeMap<String, Table> = scopes.into_iter().map(table).collect();
        for entry in entries {
            if let Some(table) = tables.get_mut(&entry.network) {
                table.add(&entry);
            }
        }
        Self { tables, askers: askers.into_iter().collect() }
    }

    /// Where `name` is for `asker`, or `None` when it is no container's on the asker's networks.
    /// Case does not matter, nor does a dot at the end.
    pub fn addresses(&self, asker: &str, name: &str) -> Option<&[IpAddr]> {
        let name = normal(name);
        let mut tables = self.tables_of(asker);
        let found = tables.find_map(|(_, table)| table.addresses.get(&name));
        found.or_else(|| self.qualified(asker, &name)).map(Vec::as_slice)
    }

    /// What is at `address` on one of the asker's networks, with the network's name behind it.
    pub fn name_at(&self, asker: &str, address: IpAddr) -> Option<String> {
        let mut tables = self.tables_of(asker);
        tables
            .find_map(|(network, table)| Some(format!("{}.{network}", table.names.get(&address)?)))
    }

    /// Whether questions about other names may leave the host for `asker`.
    pub fn may_ask_outside(&self, asker: &str) -> bool {
        !self.resolvers(asker).is_empty() || self.tables_of(asker).any(|(_, table)| !table.internal)
    }

    /// The resolvers that `asker` was given; none when it has the host's.
    pub fn resolvers(&self, asker: &str) -> &[IpAddr] {
        self.askers.get(asker).map(|asker| asker.resolvers.as_slice()).unwrap_or_default()
    }

    fn tables_of<'a>(&'a self, asker: &str) -> impl Iterator<Item = (&'a str, &'a Table)> {
        let networks = self.askers.get(asker).map(|asker| asker.networks.as_slice());
        networks.unwrap_or_default().iter().filter_map(|name| {
            self.tables.get_key_value(name).map(|(name, table)| (name.as_str(), table))
        })
    }

    /// `web.backend`, which is `web` on the network `backend`.
    fn qualified(&self, asker: &str, name: &str) -> Option<&Vec<IpAddr>> {
        self.tables_of(asker).find_map(|(network, table)| {
            let bare = name.strip_suffix(&network.to_ascii_lowercase())?.strip_suffix('.')?;
            table.addresses.get(bare)
        })
    }
}

// === impl Table ===

impl Table {
    fn add(&mut self, entry: &Entry) {
        for name in &entry.names {
            let known = self.addresses.entry(normal(name)).or_default();
            for address in &entry.addresses {
                if !known.contains(address) {
                    known.push(*address);
                }
            }
        }
        if let Some(first) = entry.names.first() {
            for address in &entry.addresses {
                self.names.insert(*address, first.clone());
            }
        }
    }
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(name: &str, internal: bool) -> Scope {
        Scope { name: name.to_owned(), internal }
    }

    fn entry(network: &str, names: &[&str], addresses: &[&str]) -> Entry {
        Entry {
            network: network.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn asker(id: &str, networks: &[&str]) -> (String, Asker) {
        let networks = networks.iter().map(|name| (*name).to_owned()).collect();
        (id.to_owned(), Asker { networks, resolvers: Vec::new() })
    }

    fn directory() -> Directory {
        Directory::new(
            [scope("blue", false), scope("Red.Net", true)],
            [
                entry("blue", &["web", "0123456789ab", "www"], &["10.0.0.2", "fd00::2"]),
                entry("blue", &["web2", "www"], &["10.0.0.3"]),
                entry("Red.Net", &["web"], &["10.1.0.2"]),
                entry("gone", &["lost"], &["10.2.0.2"]),
            ],
            [asker("a", &["blue"]), asker("b", &["Red.Net"]), asker("c", &["Red.Net", "blue"])],
        )
    }

    fn found(directory: &Directory, who: &str, name: &str) -> Option<Vec<String>> {
        let addresses = directory.addresses(who, name)?;
        Some(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_name_is_found_on_the_askers_networks_only() {
        let directory = directory();
        let blue = Some(vec!["10.0.0.2".to_owned(), "fd00::2".to_owned()]);
        assert_eq!(found(&directory, "a", "web"), blue);
        assert_eq!(found(&directory, "a", "WEB."), blue);
        assert_eq!(found(&directory, "a", "0123456789ab"), blue);
        assert_eq!(found(&directory, "b", "web"), Some(vec!["10.1.0.2".to_owned()]));
        assert_eq!(found(&directory, "b", "www"), None);
        assert_eq!(found(&directory, "nobody", "web"), None);
        assert_eq!(found(&directory, "a", "lost"), None);
    }

    #[test]
    fn an_alias_of_several_leads_to_all_of_them() {
        let all = found(&directory(), "a", "www").unwrap();
        assert_eq!(all, ["10.0.0.2", "fd00::2", "10.0.0.3"]);
    }

    #[test]
    fn on_several_networks_the_first_decides_and_a_suffix_chooses() {
        let directory = directory();
        assert_eq!(found(&directory, "c", "web"), Some(vec!["10.1.0.2".to_owned()]));
        assert_eq!(found(&directory, "c", "web.blue").unwrap().first().unwrap(), "10.0.0.2");
        assert_eq!(found(&directory, "c", "web.red.net"), Some(vec!["10.1.0.2".to_owned()]));
        assert_eq!(found(&directory, "b", "web.blue"), None);
        assert_eq!(found(&directory, "c", ".blue"), None);
        assert_eq!(found(&directory, "c", "blue"), None);
    }

    #[test]
    fn addresses_lead_back_to_the_first_name() {
        let directory = directory();
        let at = |who: &str, address: &str| directory.name_at(who, address.parse().unwrap());
        assert_eq!(at("a", "fd00::2").as_deref(), Some("web.blue"));
        assert_eq!(at("a", "10.1.0.2"), None);
        assert_eq!(at("c", "10.1.0.2").as_deref(), Some("web.Red.Net"));
    }

    #[test]
    fn questions_leave_unless_every_network_is_internal() {
        let mut directory = directory();
        assert!(directory.may_ask_outside("a") && directory.may_ask_outside("c"));
        assert!(!directory.may_ask_outside("b"));
        let resolvers = vec!["10.1.0.9".parse().unwrap()];
        let networks = vec!["Red.Net".to_owned()];
        directory.askers.insert("b".to_owned(), Asker { networks, resolvers });
        assert!(directory.may_ask_outside("b"));
    }
}
