//! Interfaces and routes of ours that are still there after a crash; an interface's alias tells whose
//! it was.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wharf_host::link::{Link, Links};
use wharf_host::route::Routes;

use crate::error::Result;
use crate::network::Network;

/// Every interface we make has this in front of its owner's identity as its alias.
const MARK: &str = "wharf:";

/// An interface we made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The interface's name.
    pub link: String,
    /// What it was made for.
    pub owner: Owner,
}

/// What an interface of ours was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "lowercase")]
pub enum Owner {
    /// It is the bridge of the network with this identity.
    Network(String),
    /// It is the host's end of the veth pair of the container with this identity.
    Container(String),
}

/// Every interface of ours in the network namespace of the calling thread; which of them are
/// wanted is for the caller, who knows the networks and containers there should be.
pub fn leftovers() -> Result<Vec<Leftover>> {
    Ok(Links::open()?.list()?.into_iter().filter_map(ours).collect())
}

/// Deletes the routes of networks that are not among `wanted`; answers to where they led.
pub fn remove_stray_routes(wanted: &[&Network]) -> Result<Vec<IpNet>> {
    let mut routes = Routes::open()?;
    let kept: Vec<IpNet> = wanted
        .iter()
        .flat_map(|network| network.bridge_addresses())
        .map(|net| net.trunc())
        .collect();
    let mut strays = routes.swallowed()?;
    strays.retain(|net| !kept.contains(net));
    for net in &strays {
        routes.stop_swallowing(*net)?;
    }
    Ok(strays)
}

/// Deletes an interface that [`leftovers`] found; `false` when it was gone.
pub fn remove_leftover(leftover: &Leftover) -> Result<bool> {
    Ok(Links::open()?.delete(&leftover.link)?)
}

pub(crate) fn alias_of(id: &str) -> String {
    format!("{MARK}{id}")
}

pub(crate) fn is_ours(link: &Link) -> bool {
    link.alias.as_ref().is_some_and(|alias| alias.starts_with(MARK))
}

fn ours(link: Link) -> Option<Leftover> {
    let id = link.alias?.strip_prefix(MARK)?.to_owned();
    let owner = match link.kind?.as_str() {
        "bridge" => Owner::Network(id),
        "veth" => Owner::Container(id),
        _ => return None,
    };
    Some(Leftover { link: link.name, owner })
}
