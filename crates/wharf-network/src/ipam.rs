//! Leases: which container has which address of a subnet.
//!
//! No address is held twice, and none of the addresses that mean something else (network,
//! gateway, broadcast) is ever handed out. Addresses go round: the search starts behind the last
//! one handed out, so that an address given back rests, and neighbours' caches, connection
//! tracking and people have time to forget whose it was.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::span::{self, Span};

#[cfg(test)]
mod tests;

/// The addresses of one subnet and who holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    subnet: IpNet,
    /// The part of the subnet that addresses are taken from unless one is asked for.
    range: IpNet,
    gateway: IpAddr,
    /// Where the next search starts.
    next: IpAddr,
    held: BTreeMap<IpAddr, String>,
}

// === impl Leases ===

impl Leases {
    /// All addresses of `subnet` free but the gateway's, which is the first one unless named.
    /// Addresses nobody asks for by number come from `range`.
    pub fn new(subnet: IpNet, gateway: Option<IpAddr>, range: Option<IpNet>) -> Result<Self> {
        if subnet.trunc() != subnet {
            return Err(Error::HostBits { given: subnet, subnet: subnet.trunc() });
        }
        if subnet.prefix_len() > subnet.max_prefix_len() - 2 {
            return Err(Error::Subnet { subnet, why: "it has no room for a container" });
        }
        let range = range.unwrap_or(subnet).trunc();
        if !subnet.contains(&range) {
            return Err(Error::StrayRange(range));
        }
        let span = Span::of(subnet);
        let gateway = gateway.unwrap_or_else(|| span::address(span.v6, span.first + 1));
        let next = span::address(span.v6, Span::of(range).first);
        let leases = Self { subnet, range, gateway, next, held: BTreeMap::new() };
        leases.check_meaning(gateway, false)?;
        Ok(leases)
    }

    /// The subnet.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The gateway's address, which is the bridge's.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Who holds what, by address.
    pub fn held(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.held.iter().map(|(address, owner)| (*address, owner.as_str()))
    }

    /// How many addresses are held.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// The address `owner` holds.
    pub fn address_of(&self, owner: &str) -> Option<IpAddr> {
        self.held().find(|(_, holder)| *holder == owner).map(|(address, _)| address)
    }

    /// Gives `owner` the address `requested`, or the next free one; who holds an address already
    /// gets the same again.
    pub fn lease(&mut self, requested: Option<IpAddr>, owner: &str) -> Result<IpAddr> {
        if let Some(held) = self.address_of(owner) {
            return match requested {
                Some(address) if address != held => {
                    Err(Error::SecondLease { owner: owner.to_owned(), held, address })
                }
                _ => Ok(held),
            };
        }
        let address = match requested {
            Some(address) => self.check(address)?,
            None => self.advance()?,
        };
        self.held.insert(address, owner.to_owned());
        Ok(address)
    }

    /// Takes back what `owner` holds and says what it was.
    pub fn release(&mut self, owner: &str) -> Option<IpAddr> {
        let address = self.address_of(owner)?;
        self.held.remove(&address);
        // Only an address that was asked for by number can be next in turn; it rests, too.
        if self.free_from(self.next) == Some(address) {
            self.next = self.after(address);
        }
        Some(address)
    }

    fn check(&self, address: IpAddr) -> Result<IpAddr> {
        self.check_meaning(address, true)?;
        match self.held.get(&address) {
            Some(owner) => Err(Error::InUse { address, owner: owner.clone() }),
            None => Ok(address),
        }
    }

    fn check_meaning(&self, address: IpAddr, for_lease: bool) -> Result<()> {
        let subnet = self.subnet;
        if !subnet.contains(&address) {
            return Err(Error::Outside { address, subnet });
        }
        match self.meaning(address) {
            Some("gateway") if !for_lease => Ok(()),
            Some(role) => Err(Error::Reserved { address, role, subnet }),
            None => Ok(()),
        }
    }

    fn meaning(&self, address: IpAddr) -> Option<&'static str> {
        let span = Span::of(self.subnet);
        let number = span::number(address);
        if number == span.first {
            // In IPv6 this is the anycast address of the subnet's routers (RFC 4291, 2.6.1).
            Some("network address")
        } else if number == span.last && !span.v6 {
            Some("broadcast address")
        } else if address == self.gateway {
            Some("gateway")
        } else {
            None
        }
    }

    fn advance(&mut self) -> Result<IpAddr> {
        let address = self
            .free_from(self.next)
            .ok_or(Error::SubnetFull { subnet: self.range, held: self.held.len() })?;
        self.next = self.after(address);
        Ok(address)
    }

    fn free_from(&self, start: IpAddr) -> Option<IpAddr> {
        let range = Span::of(self.range);
        let number = span::number(start);
        let mut number = if range.contains(number) { number } else { range.first };
        // At most three addresses have a meaning, so among this many one is free, or the search
        // has gone round.
        for _ in 0..self.held.len() + 4 {
            let address = span::address(range.v6, number);
            if self.meaning(address).is_none() && !self.held.contains_key(&address) {
                return Some(address);
            }
            number = range.after(number);
        }
        None
    }

    fn after(&self, address: IpAddr) -> IpAddr {
        let range = Span::of(self.range);
        span::address(range.v6, range.after(span::number(address)))
    }
}
