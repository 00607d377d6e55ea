//! `resolv.conf`: what the host's says, and what a container's is to say.

use std::fmt::Write;
use std::net::IpAddr;

/// What is looked at of a file, so that a strange one costs no memory.
const LINES: usize = 1_000;
/// Where libc asks when no server is named (resolv.conf(5)).
const LOOPBACK: &str = "127.0.0.1";

/// A resolver as the file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nameserver {
    /// Its address.
    pub address: IpAddr,
    /// The interface of a link-local address, by name or number.
    pub scope: Option<String>,
}

/// What a `resolv.conf` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The resolvers, in the order they are asked.
    pub nameservers: Vec<Nameserver>,
    /// The domains that are tried behind a name.
    pub search: Vec<String>,
    /// The resolver's options.
    pub options: Vec<String>,
}

/// What a container was given in place of the host's settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Domains; `.` alone for none.
    pub search: &'a [String],
    /// Options.
    pub options: &'a [String],
}

// === impl Nameserver ===

impl std::str::FromStr for Nameserver {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope.to_owned())),
            None => (text, None),
        };
        Ok(Self { address: address.parse()?, scope })
    }
}

impl std::fmt::Display for Nameserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.scope {
            Some(scope) => write!(f, "{}%{scope}", self.address),
            None => self.address.fmt(f),
        }
    }
}

// === impl ResolvConf ===

impl ResolvConf {
    /// Reads a file's text as libc does: what it does not know it passes over, and the last of
    /// several `search` and `domain` lines counts.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().take(LINES) {
            let mut words = line.split_whitespace();
            let owned = |word: &str| word.to_owned();
            match words.next() {
                Some("nameserver") => {
                    found.nameservers.extend(words.next().and_then(|word| word.parse().ok()));
                }
                Some("search") => found.search = words.map(owned).collect(),
                Some("domain") => found.search = words.take(1).map(owned).collect(),
                Some("options") => found.options.extend(words.map(owned)),
                _ => {}
            }
        }
        found
    }

    /// The resolvers, which are never none: libc's own choice stands in.
    pub fn resolvers(&self) -> Vec<Nameserver> {
        match self.nameservers.is_empty() {
            true => LOOPBACK.parse().into_iter().collect(),
            false => self.nameservers.clone(),
        }
    }

    /// The file of a container on a network, which asks `server`, with the host's settings (`self`)
    /// where it was given no others. As in Docker, names without a dot are tried as they are first,
    /// unless the options say otherwise: containers are called so.
    pub fn for_network(&self, server: IpAddr, wanted: Wanted<'_>) -> String {
        let mut text = format!("nameserver {server}\n");
        text += &self.settings(wanted, true);
        text
    }

    /// The file of a container that asks `servers` itself.
    pub fn for_itself(&self, servers: &[Nameserver], wanted: Wanted<'_>) -> String {
        let mut text = String::new();
        for server in servers {
            // Writing to a String cannot fail.
            let _written = writeln!(text, "nameserver {server}");
        }
        text += &self.settings(wanted, false);
        text
    }

    fn settings(&self, wanted: Wanted<'_>, served: bool) -> String {
        let mut text = String::new();
        let search = if wanted.search.is_empty() { &self.search } else { wanted.search };
        if !search.is_empty() && !matches!(search, [only] if only == ".") {
            let _written = writeln!(text, "search {}", search.join(" "));
        }
        let given = if wanted.options.is_empty() { &self.options } else { wanted.options };
        let keep = |option: &&String| {
            // The host's own is for the host's own names.
            !(served && wanted.options.is_empty() && option.starts_with("ndots:"))
        };
        let mut options: Vec<String> = given.iter().filter(keep).cloned().collect();
        if served && !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".to_owned());
        }
        if !options.is_empty() {
            let _written = writeln!(text, "options {}", options.join(" "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# by hand\n; or not\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\n\
                        nameserver nonsense\ndomain old.example\nsearch a.example b.example\n\
                        options edns0 trust-ad ndots:2\nsortlist 10.0.0.0\n";

    fn text(host: &str, search: &[&str], options: &[&str]) -> String {
        let owned = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let (search, options) = (owned(search), owned(options));
        let wanted = Wanted { search: &search, options: &options };
        ResolvConf::parse(host).for_network("127.0.0.11".parse().unwrap(), wanted)
    }

    #[test]
    fn a_hosts_file_is_read_as_libc_reads_it() {
        let found = ResolvConf::parse(HOST);
        let servers: Vec<String> = found.nameservers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.53", "fe80::1%eth0"]);
        assert_eq!(found.search, ["a.example", "b.example"]);
        assert_eq!(found.options, ["edns0", "trust-ad", "ndots:2"]);
        let nothing: Vec<String> =
            ResolvConf::parse("").resolvers().iter().map(ToString::to_string).collect();
        assert_eq!(nothing, ["127.0.0.1"]);
    }

    #[test]
    fn a_container_asks_its_own_server_with_the_hosts_settings() {
        let expected = "nameserver 127.0.0.11\nsearch a.example b.example\n\
                        options edns0 trust-ad ndots:0\n";
        assert_eq!(text(HOST, &[], &[]), expected);
        assert_eq!(text("", &[], &[]), "nameserver 127.0.0.11\noptions ndots:0\n");
    }

    #[test]
    fn what_it_was_given_takes_the_place_of_the_hosts() {
        let given = text(HOST, &["c.example"], &["timeout:1"]);
        assert_eq!(given, "nameserver 127.0.0.11\nsearch c.example\noptions timeout:1 ndots:0\n");
        let given = text(HOST, &["."], &["ndots:3"]);
        assert_eq!(given, "nameserver 127.0.0.11\noptions ndots:3\n");
    }

    #[test]
    fn a_container_without_our_server_keeps_the_hosts_options() {
        let host = ResolvConf::parse(HOST);
        let text = host.for_itself(&host.nameservers, Wanted::default());
        assert_eq!(
            text,
            "nameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch a.example b.example\n\
             options edns0 trust-ad ndots:2\n"
        );
    }
}
