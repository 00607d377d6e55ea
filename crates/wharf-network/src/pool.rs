//! Address pools: where the subnets of networks come from when nobody names one.
//!
//! The default IPv4 pools keep clear of what others on the same machine take by default: Docker
//! uses 172.17.0.0/16 to 172.31.0.0/16 and 192.168.0.0/16, podman 10.88.0.0/16 and 10.89.0.0/16
//! upwards, libvirt 192.168.122.0/24, Tailscale 100.64.0.0/10. Sixteen roomy networks (4,093
//! containers each) come first, 256 ordinary ones after them, and a last 256 lie outside
//! 10.0.0.0/8 for hosts whose VPN routes all of it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::span::{self, Span};

#[cfg(test)]
mod tests;

const DEFAULT_IPV4: [&str; 3] = ["10.201.0.0/16:20", "10.202.0.0/16:24", "172.16.0.0/16:24"];
/// A /64 is what hosts expect of an IPv6 link (RFC 4291, 2.5.1).
const IPV6_SIZE: u8 = 64;

/// One pool: a block of addresses and the size of the subnets cut from it, written
/// `10.201.0.0/16:24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pool {
    base: IpNet,
    size: u8,
}

/// The pools of an installation, in the order in which they are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPools {
    /// For IPv4.
    pub ipv4: Vec<Pool>,
    /// For IPv6.
    pub ipv6: Vec<Pool>,
}

// === impl Pool ===

impl Pool {
    /// A pool of subnets with prefixes of length `size` cut from `base`.
    pub fn new(base: IpNet, size: u8) -> Result<Self> {
        let refuse = |why| Err(Error::PoolText { text: format!("{base}:{size}"), why });
        if base.trunc() != base {
            return refuse("the base has bits set outside its prefix");
        }
        if size < base.prefix_len() {
            return refuse("subnets cannot be larger than the base");
        }
        if base.prefix_len() < 8 {
            return refuse("the base must be a /8 or smaller");
        }
        if size > base.max_prefix_len() - 2 {
            return refuse("subnets must have room for four addresses");
        }
        Ok(Self { base, size })
    }

    /// The lowest subnet that overlaps nothing in `taken`, which is sorted by first address.
    fn pick(self, taken: &[Span]) -> Option<IpNet> {
        let base = Span::of(self.base);
        let step = 1_u128 << (self.base.max_prefix_len() - self.size);
        let mut first = base.first;
        for span in taken.iter().filter(|span| span.v6 == base.v6) {
            if span.last < first {
                continue;
            }
            if span.first > first.checked_add(step - 1)? {
                break;
            }
            first = span.last.checked_add(1)?.checked_next_multiple_of(step)?;
        }
        let fits = first.checked_add(step - 1)? <= base.last;
        fits.then(|| IpNet::new(span::address(base.v6, first), self.size).ok())?
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.base, self.size)
    }
}

impl FromStr for Pool {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why| Error::PoolText { text: text.to_owned(), why };
        let (base, size) =
            text.rsplit_once(':').ok_or_else(|| refuse("the subnet size is missing"))?;
        let base = base.parse().map_err(|_| refuse("the base is not a network"))?;
        let size = size.parse().map_err(|_| refuse("the subnet size is not a number"))?;
        Self::new(base, size)
    }
}

impl TryFrom<String> for Pool {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Pool> for String {
    fn from(pool: Pool) -> Self {
        pool.to_string()
    }
}

// === impl AddressPools ===

impl AddressPools {
    /// The default pools, with an IPv6 block made up at random. To be made once for an
    /// installation and kept: a unique local block is unique because it was drawn once (RFC 4193).
    pub fn generate() -> Self {
        Self::with_global_id(rand::random())
    }

    /// The default pools, with the IPv6 block of this RFC 4193 global ID.
    pub fn with_global_id(global_id: [u8; 5]) -> Self {
        let [a, b, c, d, e] = global_id;
        let prefix = [0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let base = Ipv6Net::new_assert(Ipv6Addr::from(prefix), 48).into();
        Self {
            ipv4: DEFAULT_IPV4.iter().filter_map(|text| text.parse().ok()).collect(),
            ipv6: vec![Pool { base, size: IPV6_SIZE }],
        }
    }

    /// Sorts `pools` by family; a family that has none keeps the pools it had.
    pub fn replace(&mut self, pools: impl IntoIterator<Item = Pool>) {
        let (ipv6, ipv4): (Vec<Pool>, Vec<Pool>) =
            pools.into_iter().partition(|pool| pool.base.addr().is_ipv6());
        if !ipv4.is_empty() {
            self.ipv4 = ipv4;
        }
        if !ipv6.is_empty() {
            self.ipv6 = ipv6;
        }
    }

    /// The first IPv4 subnet that overlaps nothing in `taken`.
    pub fn pick_ipv4(&self, taken: &[IpNet]) -> Result<IpNet> {
        pick_subnet(&self.ipv4, "IPv4", taken)
    }

    /// The first IPv6 subnet that overlaps nothing in `taken`.
    pub fn pick_ipv6(&self, taken: &[IpNet]) -> Result<IpNet> {
        pick_subnet(&self.ipv6, "IPv6", taken)
    }
}

fn pick_subnet(pools: &[Pool], family: &'static str, taken: &[IpNet]) -> Result<IpNet> {
    let taken = sorted(taken);
    pools.iter().find_map(|pool| pool.pick(&taken)).ok_or_else(|| {
        let names: Vec<String> = pools.iter().map(Pool::to_string).collect();
        Error::PoolsExhausted { family, pools: names.join(", ") }
    })
}

fn sorted(taken: &[IpNet]) -> Vec<Span> {
    let mut spans: Vec<Span> = taken.iter().copied().map(Span::of).collect();
    spans.sort_by_key(|span| span.first);
    spans
}
