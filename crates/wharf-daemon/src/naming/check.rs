//! What can be said against names without looking anything up.

use std::net::IpAddr;

use wharf_api::ContainerCreate;
use wharf_spec::name::validate_hostname;

use crate::error::{Error, Result};

/// Docker's word for whatever the host is to a container.
pub(crate) const HOST_GATEWAY: &str = "host-gateway";
/// A file that containers read at every lookup is not to grow without end; libc reads 6 domains of
/// old, and 256 bytes.
const LIMIT: usize = 64;
/// What the kernel takes as a domain name (`__NEW_UTS_LEN`).
const DOMAINNAME_LIMIT: usize = 64;

/// Refuses names, addresses and options that could not be written down as they are.
pub(crate) fn check(request: &ContainerCreate) -> Result<()> {
    let names = &request.names;
    let aliases = names.networks.iter().flat_map(|join| &join.aliases);
    for alias in names.aliases.iter().chain(aliases) {
        check_alias(alias)?;
    }
    for text in &names.dns {
        text.parse::<IpAddr>().map_err(|_| {
            invalid("--dns", text, "use the address of a resolver, like 192.0.2.53")
        })?;
    }
    for text in names.dns_search.iter().filter(|text| *text != ".") {
        validate_hostname(text.strip_suffix('.').unwrap_or(text))
            .map_err(|_| invalid("--dns-search", text, "use a domain, or . for none"))?;
    }
    for text in &names.dns_options {
        let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_word {
            return Err(invalid("--dns-option", text, "use one of resolv.conf(5), like ndots:2"));
        }
    }
    for text in &names.extra_hosts {
        extra_host(text)?;
    }
    if let Some(domain) = &names.domainname {
        let fits = domain.len() <= DOMAINNAME_LIMIT && validate_hostname(domain).is_ok();
        if !fits {
            let rule = "use a domain of at most 64 bytes, like example.org";
            return Err(invalid("--domainname", domain, rule));
        }
    }
    let lists = [names.dns.len(), names.dns_search.len(), names.dns_options.len()];
    if lists.into_iter().any(|length| length > LIMIT) {
        return Err(Error::Invalid(format!("more than {LIMIT} of a --dns option: leave some out")));
    }
    Ok(())
}

/// Refuses what cannot be asked for: a name in the DNS has labels of at most 63 bytes.
pub(crate) fn check_alias(alias: &str) -> Result<()> {
    let fits = |label: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(letter)
    };
    if alias.len() <= 253 && alias.split('.').all(fits) {
        return Ok(());
    }
    Err(invalid("--network-alias", alias, "use letters, digits, _, - and . as in a host name"))
}

/// The two parts of `NAME:ADDRESS` or `NAME=ADDRESS`.
pub(crate) fn extra_host(text: &str) -> Result<(&str, &str)> {
    let wrong = |_| invalid("--add-host", text, "use NAME:ADDRESS, or NAME:host-gateway");
    let (name, address) =
        text.split_once('=').or_else(|| text.split_once(':')).ok_or(()).map_err(wrong)?;
    let is_word = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let bare = address.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(address);
    let is_address = bare == HOST_GATEWAY || bare.parse::<IpAddr>().is_ok();
    if is_word && is_address { Ok((name, bare)) } else { Err(wrong(())) }
}

fn invalid(what: &str, text: &str, rule: &str) -> Error {
    Error::Invalid(format!("invalid {what} {text:?}: {rule}"))
}

#[cfg(test)]
mod tests {
    use wharf_api::options::Names;

    use super::*;

    fn refusal(names: Names) -> String {
        let request = ContainerCreate { names, ..ContainerCreate::default() };
        check(&request).map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn one(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn hosts_are_a_name_and_an_address() {
        for (text, parts) in [
            ("db:10.0.0.1", ("db", "10.0.0.1")),
            ("db=fd00::1", ("db", "fd00::1")),
            ("db:fd00::1", ("db", "fd00::1")),
            ("db:[fd00::1]", ("db", "fd00::1")),
            ("host.docker.internal:host-gateway", ("host.docker.internal", "host-gateway")),
        ] {
            assert_eq!(extra_host(text).unwrap(), parts);
        }
        for text in ["db", ":10.0.0.1", "db:ten", "d b:10.0.0.1", "db:10.0.0.1\nx"] {
            assert!(extra_host(text).unwrap_err().to_string().contains("invalid --add-host"));
        }
    }

    #[test]
    fn what_cannot_be_written_down_is_refused_with_an_example() {
        assert_eq!(refusal(Names::default()), "");
        assert!(refusal(Names { dns: one("dns.example"), ..Names::default() }).contains("--dns "));
        let search = |text| refusal(Names { dns_search: one(text), ..Names::default() });
        assert_eq!((search("."), search("example.org.")), (String::new(), String::new()));
        assert!(search("a b").contains("use a domain, or . for none"));
        let option = |text| refusal(Names { dns_options: one(text), ..Names::default() });
        assert_eq!(option("ndots:2"), "");
        assert!(option("ndots:2\nnameserver 1.1.1.1").contains("--dns-option"));
        let alias = |text| refusal(Names { aliases: one(text), ..Names::default() });
        assert_eq!((alias("db"), alias("_db.eu")), (String::new(), String::new()));
        assert!(alias("d b").contains("--network-alias") && alias("a..b").contains("alias"));
        let domain =
            |text: &str| refusal(Names { domainname: Some(text.to_owned()), ..Names::default() });
        assert_eq!(domain("example.org"), "");
        assert!(domain(&"a.".repeat(40)).contains("--domainname"));
    }
}
