//! The first packet of a connection, with one published port and with many.
//!
//! A published port needs a listening socket, and a process a descriptor for each. Where the limit
//! is lower than 60,000, as many are published as it allows, and the rest are put into the kernel's
//! maps beside them after the daemon is gone: what a packet of the kernel plane or the connect of a
//! process of the host meets is the same.

mod fill;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use wharf_lab::Host;

use super::column::Service;
use super::ground::HOST;
use super::record::spread_json;
use super::rounds::Interrupt;
use super::site::{Site, knock};
use super::statistics::{Spread, median, ratio};
use super::table;
use super::times::Times;

/// The ports that are published, as many of them as a case has.
const PORTS: RangeInclusive<u16> = 5000..=64_999;
/// What the daemon keeps of its descriptors for other things, with some to spare.
const HEADROOM: u64 = 2000;
/// Connections in a window.
const KNOCKS: usize = 300;
/// Connections in a window before the first round, which nobody looks at.
const WARM_UP: usize = 50;

/// How many ports, how they were asked for, and who leads there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    ports: u16,
    shape: Shape,
    by: By,
}

/// How many ports were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Each on its own, all of them to one port of the container.
    Scattered,
    /// Ranges of so many.
    Ranges(u16),
}

/// Which plane leads there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Kernel NAT, for another host.
    Nft,
    /// The relay, for another host.
    Relay,
    /// The connect hooks, for the host itself.
    Ebpf,
}

/// What was found in one case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct First {
    pub(crate) case: Case,
    /// How many of the ports the daemon published; the others are in the kernel's maps only.
    pub(crate) by_daemon: u16,
    /// Milliseconds until the connection was there.
    pub(crate) connect: Times,
    /// Milliseconds until the first answer was there.
    pub(crate) answer: Times,
    /// The median time of a window to those of the windows with one port beside it.
    pub(crate) ratio: Option<Spread>,
}

struct Measured {
    site: Site,
    ports: Vec<u16>,
    ratios: Vec<f64>,
    first: First,
}

/// From another host: one port, then what is compared with it; the same over the relay.
pub(crate) const FROM_AFAR: [&[Case]; 2] = [
    &[
        Case::new(1, Shape::Scattered, By::Nft),
        Case::new(1000, Shape::Scattered, By::Nft),
        Case::new(60_000, Shape::Scattered, By::Nft),
        Case::new(60_000, Shape::Ranges(10_000), By::Nft),
    ],
    &[
        Case::new(1, Shape::Scattered, By::Relay),
        Case::new(1000, Shape::Scattered, By::Relay),
        Case::new(60_000, Shape::Scattered, By::Relay),
    ],
];

/// From the host itself.
pub(crate) const FROM_HERE: [&[Case]; 1] = [&[
    Case::new(1, Shape::Scattered, By::Ebpf),
    Case::new(60_000, Shape::Ranges(60_000), By::Ebpf),
    Case::new(60_000, Shape::Scattered, By::Ebpf),
]];

/// Measures every case of `series` between two windows with its first, `rounds` times.
pub(crate) fn measure(
    program: &Path,
    rounds: u32,
    series: &[&[Case]],
    interrupt: &Interrupt,
) -> Result<Vec<First>> {
    let mut found = Vec::new();
    for cases in series {
        let sites: Result<Vec<Measured>> =
            cases.iter().map(|case| Measured::prepare(program, *case)).collect();
        let mut sites = sites?;
        for number in 0..=rounds {
            interrupt.check()?;
            let knocks = if number == 0 { WARM_UP } else { KNOCKS };
            round(&mut sites, knocks)?;
            if number == 0 {
                sites.iter_mut().for_each(Measured::forget);
            }
        }
        found.extend(sites.into_iter().map(Measured::finish));
    }
    Ok(found)
}

fn round(sites: &mut [Measured], knocks: usize) -> Result<()> {
    let Some((one, many)) = sites.split_first_mut() else { return Ok(()) };
    let mut before = one.window(knocks)?;
    for site in many {
        let own = site.window(knocks)?;
        let after = one.window(knocks)?;
        site.ratios.extend(ratio(own, before, after));
        before = after;
    }
    Ok(())
}

/// Prints the times of the first packets from `whom`.
pub(crate) fn print(whom: &str, all: &[First]) {
    println!("\nfirst packet from {whom}, µs\n");
    let heads = ["connected", "99 %", "answer", "99 %", "to one port", "by the daemon"];
    table::wide_line("", &heads.map(str::to_owned));
    for first in all {
        table::wide_line(&first.case.name(), &first.cells());
    }
}

// === impl First ===

impl First {
    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "case": self.case.name(),
            "ports": self.case.ports,
            "published_by_the_daemon": self.by_daemon,
            "connected": self.connect.tail().json("ms"),
            "answered": self.answer.tail().json("ms"),
            "ratio_to_one_port": self.ratio.map(spread_json),
        })
    }

    fn cells(&self) -> [String; 6] {
        let (connect, answer) = (self.connect.tail(), self.answer.tail());
        let microseconds = |milliseconds: f64| format!("{:.0}", milliseconds * 1e3);
        [
            microseconds(connect.p50),
            microseconds(connect.p99),
            microseconds(answer.p50),
            microseconds(answer.p99),
            self.ratio.map_or_else(table::nothing, |ratio| format!("{:.2}", ratio.median)),
            self.by_daemon.to_string(),
        ]
    }
}

// === impl Measured ===

impl Measured {
    fn prepare(program: &Path, case: Case) -> Result<Self> {
        eprintln!("first packet: {}", case.name());
        let site = Site::start(&case.name(), program)?;
        let by_daemon = case.by_daemon();
        site.publish_all(&case.specs(by_daemon))?;
        if by_daemon < case.ports && case.by != By::Relay {
            fill::fill(&site, case, by_daemon)?;
        }
        let (connect, answer) = (Times::default(), Times::default());
        let first = First { case, by_daemon, connect, answer, ratio: None };
        Ok(Self { site, ports: case.visited(by_daemon), ratios: Vec::new(), first })
    }

    /// The median time until the first answer in one window.
    fn window(&mut self, knocks: usize) -> Result<f64> {
        let (client, at) = self.first.case.client(&self.site);
        let to: Vec<SocketAddr> = self.ports.iter().map(|it| SocketAddr::new(at, *it)).collect();
        let knocked = knock(client, &to, knocks)?;
        let milliseconds = |times: &[f64]| times.iter().map(|it| it / 1e3).collect::<Vec<f64>>();
        self.first.connect.extend(&milliseconds(&knocked.connect_us));
        self.first.answer.extend(&milliseconds(&knocked.answer_us));
        // A connection to the relay is there before the target has been asked.
        let times =
            if self.first.case.by == By::Relay { knocked.answer_us } else { knocked.connect_us };
        median(times).context("a window without a connection")
    }

    fn forget(&mut self) {
        self.ratios.clear();
        (self.first.connect, self.first.answer) = (Times::default(), Times::default());
    }

    fn finish(self) -> First {
        First { ratio: Spread::of(self.ratios), ..self.first }
    }
}

// === impl Case ===

impl Case {
    const fn new(ports: u16, shape: Shape, by: By) -> Self {
        Self { ports, shape, by }
    }

    /// Its name in tables and files.
    pub(crate) fn name(self) -> String {
        let Self { ports, shape, by } = self;
        // The relay's ports are those that have sockets.
        let there = if by == By::Relay { self.by_daemon() } else { ports };
        let of = match shape {
            Shape::Ranges(length) if length == ports => " in one range".to_owned(),
            Shape::Ranges(length) => format!(" in {} ranges", ports / length),
            Shape::Scattered => String::new(),
        };
        let noun = if there == 1 { "port" } else { "ports" };
        let whose = if by == By::Relay { " by the relay" } else { "" };
        format!("{there} {noun}{of}{whose}")
    }

    /// Where the first packet comes from, and the address that it asks for.
    fn client(self, site: &Site) -> (&Host, IpAddr) {
        match self.by {
            By::Nft | By::Relay => (&site.scene.remote, HOST),
            By::Ebpf => (&site.scene.host, Ipv4Addr::LOCALHOST.into()),
        }
    }

    /// As many as there may be sockets; ranges as a whole, if one has room.
    fn by_daemon(self) -> u16 {
        let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        self.within(u16::try_from(limit.saturating_sub(HEADROOM)).unwrap_or(u16::MAX))
    }

    fn within(self, room: u16) -> u16 {
        let most = self.ports.min(room);
        match self.shape {
            Shape::Ranges(length) if length <= room => most / length * length,
            Shape::Ranges(_) | Shape::Scattered => most,
        }
    }

    fn specs(self, by_daemon: u16) -> Vec<String> {
        let target = Service::Short.port();
        let all = PORTS.take(by_daemon.into());
        let options = if self.by == By::Relay { ",via=relay" } else { "" };
        // The hooks have room for 65,536 ports, and each family has its own.
        let at = if self.by == By::Ebpf { "0.0.0.0:" } else { "" };
        match self.shape {
            Shape::Scattered => all.map(|port| format!("{at}{port}:{target}{options}")).collect(),
            Shape::Ranges(length) => {
                let length = length.min(by_daemon);
                let firsts = all.step_by(length.into());
                let spec = |first: u16| format!("{at}{0}-{1}:{0}-{1}", first, first + (length - 1));
                firsts.map(|first| spec(first) + options).collect()
            }
        }
    }

    /// The ports that the client connects to: from all over, where they lead to one service.
    fn visited(self, by_daemon: u16) -> Vec<u16> {
        let there = if self.by == By::Relay { by_daemon } else { self.ports };
        match self.shape {
            Shape::Ranges(_) => vec![Service::Short.port()],
            Shape::Scattered => {
                PORTS.take(there.into()).step_by(usize::from(there).div_ceil(50)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_and_hold_the_service() {
        let case = Case::new(60_000, Shape::Ranges(10_000), By::Nft);
        let specs = case.specs(case.within(29_999));
        assert_eq!(specs, ["5000-14999:5000-14999", "15000-24999:15000-24999"]);
        assert_eq!(case.visited(20_000), [Service::Short.port()]);
        assert!(PORTS.contains(&Service::Short.port()));
        let one = Case::new(60_000, Shape::Ranges(60_000), By::Ebpf);
        assert_eq!(one.specs(one.within(18_000)), ["0.0.0.0:5000-22999:5000-22999"]);
        assert_eq!(one.specs(one.within(62_000)), ["0.0.0.0:5000-64999:5000-64999"]);
    }

    #[test]
    fn scattered_ports_are_visited_all_over() {
        let case = Case::new(60_000, Shape::Scattered, By::Nft);
        let visited = case.visited(18_000);
        assert_eq!((visited.len(), visited[0], visited[49]), (50, 5000, 63_800));
        assert_eq!(case.specs(2), ["5000:9001", "5001:9001"]);
    }

    #[test]
    fn cases_are_told_apart_by_their_names() {
        let name = |ports, shape, by| Case::new(ports, shape, by).name();
        assert_eq!(name(1, Shape::Scattered, By::Relay), "1 port by the relay");
        assert_eq!(name(60_000, Shape::Scattered, By::Nft), "60000 ports");
        assert_eq!(name(60_000, Shape::Ranges(10_000), By::Nft), "60000 ports in 6 ranges");
        assert_eq!(name(60_000, Shape::Ranges(60_000), By::Ebpf), "60000 ports in one range");
    }
}
