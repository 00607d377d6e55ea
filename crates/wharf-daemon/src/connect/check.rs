//! What does not go together with how a container is connected, with Docker's texts.

use wharf_api::ContainerCreate;
use wharf_network::DEFAULT_NETWORK;

use super::Mode;
use crate::error::{Error, Result};

/// Refuses options that could not be honoured.
pub(crate) fn check(request: &ContainerCreate) -> Result<()> {
    let text = request.network.as_deref().unwrap_or(DEFAULT_NETWORK);
    let mode = Mode::of(text);
    if let Mode::Networks(_) = mode {
        return check_further(request);
    }
    let refused = refused_on_any(request).or_else(|| match mode {
        Mode::Joined(_) => refused_when_joined(request),
        _ => None,
    });
    let (what, remedy) = match refused {
        Some(refused) => refused,
        None if publishes(request) => ("port publishing", publishing(mode)),
        None => return Ok(()),
    };
    Err(Error::Invalid(format!(
        "conflicting options: {what} and the network mode {text:?}: {remedy}"
    )))
}

fn check_further(request: &ContainerCreate) -> Result<()> {
    for join in &request.names.networks {
        if !matches!(Mode::of(&join.network), Mode::Networks(_)) {
            return Err(Error::Invalid(format!(
                "conflicting options: cannot attach both user-defined and non-user-defined \
                 network-modes: {:?} stands alone",
                join.network
            )));
        }
    }
    Ok(())
}

fn publishes(request: &ContainerCreate) -> bool {
    !request.publish.is_empty() || request.publish_all
}

fn publishing(mode: Mode<'_>) -> &'static str {
    match mode {
        Mode::Host => {
            "the container listens on the host's own addresses, so that nothing needs publishing"
        }
        Mode::Joined(_) => "publish the ports on the container whose network it shares",
        Mode::None | Mode::Networks(_) => {
            "the container has no way in: leave --network out, or take an internal network"
        }
    }
}

fn refused_on_any(request: &ContainerCreate) -> Option<(&'static str, &'static str)> {
    let names = &request.names;
    if !names.networks.is_empty() {
        return Some(("other networks", "it stands alone"));
    }
    if !names.aliases.is_empty() {
        let remedy = "only networks have names; leave --network-alias out";
        return Some(("network-scoped aliases", remedy));
    }
    let address = request.ip.is_some() || request.ip6.is_some();
    address.then_some(("a user specified IP address", "only networks give out addresses"))
}

fn refused_when_joined(request: &ContainerCreate) -> Option<(&'static str, &'static str)> {
    let remedy = "it is the other container's";
    let names = &request.names;
    if request.hostname.is_some() || names.domainname.is_some() {
        Some(("hostname", remedy))
    } else if !names.dns.is_empty() || !names.dns_search.is_empty() || !names.dns_options.is_empty()
    {
        Some(("dns", remedy))
    } else if !names.extra_hosts.is_empty() {
        Some(("custom host-to-IP mapping", remedy))
    } else if !request.expose.is_empty() {
        Some(("port exposing", "expose the ports on the other container"))
    } else if request.security.sysctls.keys().any(|name| name.starts_with("net")) {
        Some(("settings of a network", "set them on the other container"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use wharf_api::options::{Names, NetworkJoin};

    use super::*;

    fn refusal(network: &str, change: impl FnOnce(&mut ContainerCreate)) -> String {
        let mut request =
            ContainerCreate { network: Some(network.to_owned()), ..ContainerCreate::default() };
        change(&mut request);
        check(&request).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_a_mode_cannot_honour_is_refused_with_why() {
        let publish = |request: &mut ContainerCreate| request.publish = vec!["80".to_owned()];
        assert_eq!(refusal("blue", publish), "");
        let text = refusal("host", publish);
        assert_eq!(
            text,
            "conflicting options: port publishing and the network mode \"host\": the container \
             listens on the host's own addresses, so that nothing needs publishing"
        );
        assert!(refusal("none", publish).contains("has no way in"));
        assert!(refusal("container:web", publish).contains("whose network it shares"));
        let alias = |request: &mut ContainerCreate| request.names.aliases = vec!["db".to_owned()];
        assert!(refusal("none", alias).contains("network-scoped aliases"));
        let named = |request: &mut ContainerCreate| request.hostname = Some("box".to_owned());
        assert!(refusal("container:web", named).contains("hostname and the network mode"));
        assert_eq!(refusal("host", named), "");
    }

    #[test]
    fn modes_and_networks_do_not_mix() {
        let join =
            |network: &str| NetworkJoin { network: network.to_owned(), ..Default::default() };
        let with = |joins: Vec<NetworkJoin>| {
            move |request: &mut ContainerCreate| {
                request.names = Names { networks: joins, ..Names::default() };
            }
        };
        assert_eq!(refusal("blue", with(vec![join("red")])), "");
        assert!(refusal("blue", with(vec![join("host")])).contains("\"host\" stands alone"));
        assert!(refusal("none", with(vec![join("red")])).contains("other networks"));
    }
}
