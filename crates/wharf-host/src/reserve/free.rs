//! Choosing ports nobody has asked for by number.

use std::net::IpAddr;

use crate::error::{Context, Error, Result};
use crate::reserve::{Clash, Reservation, Transport, reserve};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Why no ports could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum NoFreePorts {
    /// The range holds no run of free ports as long as asked for.
    #[error(
        "all ports are allocated: no {} in {first}-{last}; \
         name a port, or widen net.ipv4.ip_local_port_range",
        match count { 1 => "free port".to_owned(), more => format!("{more} consecutive free ports") }
    )]
    Exhausted {
        /// How many consecutive ports were asked for.
        count: u16,
        /// The lowest port looked at.
        first: u16,
        /// The highest port looked at.
        last: u16,
    },
    /// Binding failed for a reason other ports would not cure.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// The kernel's own settings could not be read.
    #[error(transparent)]
    Host(#[from] Error),
}

/// Reserves `count` consecutive free ports within `range`, the same numbers on all addresses.
///
/// The search begins at `start`, goes round once, and passes over the ports of
/// `net.ipv4.ip_local_reserved_ports`.
///
/// # Errors
/// When there is no such run, or when binding fails for another reason than a port in use.
pub fn pick_free(
    transport: Transport,
    addresses: &[IpAddr],
    count: u16,
    range: (u16, u16),
    start: u16,
) -> Result<Reservation, NoFreePorts> {
    let avoid = reserved_ports()?;
    let start = if (range.0..=range.1).contains(&start) { start } else { range.0 };
    // The second leg ends where the first began, so that a run across `start` is found, too.
    let second = start.saturating_add(count.saturating_sub(2)).min(range.1);
    for leg in [(start, range.1), (range.0, second)] {
        if let Some(found) = search(transport, addresses, count.max(1), leg, &avoid)? {
            return Ok(found);
        }
    }
    Err(NoFreePorts::Exhausted { count, first: range.0, last: range.1 })
}

fn search(
    transport: Transport,
    addresses: &[IpAddr],
    count: u16,
    (first, last): (u16, u16),
    avoid: &[(u16, u16)],
) -> Result<Option<Reservation>, Clash> {
    let mut next = first;
    loop {
        let Some(end) = next.checked_add(count - 1).filter(|end| *end <= last) else {
            return Ok(None);
        };
        let blocked = avoid.iter().find(|(low, high)| *low <= end && next <= *high);
        let taken = match blocked {
            Some((_, high)) => *high,
            None => match reserve(transport, addresses, (next, end)) {
                Ok(found) => return Ok(Some(found)),
                Err(clash) if clash.is_in_use() => clash.port,
                Err(clash) => return Err(clash),
            },
        };
        let Some(after) = taken.checked_add(1) else { return Ok(None) };
        next = after;
    }
}

/// The ports the kernel gives to outgoing connections of the calling thread's network
/// namespace (`net.ipv4.ip_local_port_range`).
pub fn ephemeral_range() -> Result<(u16, u16)> {
    let text = std::fs::read_to_string(RANGE).during(|| format!("read {RANGE}"))?;
    let mut words = text.split_whitespace().map(str::parse::<u16>);
    match (words.next(), words.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => Ok((first, last)),
        _ => Err(Error::answer(format!("read {RANGE}"), format!("{text:?} is not two ports"))),
    }
}

/// The ports not to be chosen automatically (`net.ipv4.ip_local_reserved_ports`), as ranges.
pub fn reserved_ports() -> Result<Vec<(u16, u16)>> {
    let text = std::fs::read_to_string(RESERVED).during(|| format!("read {RESERVED}"))?;
    parse_ranges(&text).ok_or_else(|| {
        Error::answer(format!("read {RESERVED}"), format!("{text:?} is not a list of ports"))
    })
}

fn parse_ranges(text: &str) -> Option<Vec<(u16, u16)>> {
    text.trim()
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            Some((low.parse().ok()?, high.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse_ranges;

    #[test]
    fn reserved_ports_are_numbers_and_ranges() {
        assert_eq!(parse_ranges("\n"), Some(vec![]));
        assert_eq!(parse_ranges("8080,9000-9010\n"), Some(vec![(8080, 8080), (9000, 9010)]));
        assert_eq!(parse_ranges("many"), None);
    }
}
