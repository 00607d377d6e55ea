//! The first packet of a connection, with one published port and with many.
//!
//! A published port needs a listening socket, and a process a descriptor for each. Where the limit
//! is lower than 60,000, as many are published as it allows, and the rest are put into the kernel's
//! maps beside them after the daemon is gone: what a packet of the kernel plane meets is the same.

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit};

use super::site::Site;
use super::times::Times;
use crate::bench::column::Service;
use crate::bench::rounds::Interrupt;
use crate::bench::statistics::{Spread, median, ratio};

/// The ports that are published, as many of them as a case has.
const PORTS: RangeInclusive<u16> = 5000..=64_999;
/// Of a range, where ranges are published.
const RANGE: u16 = 10_000;
/// What the daemon keeps of its descriptors for other things, with some to spare.
const HEADROOM: u64 = 2000;
/// Connections in a window.
const KNOCKS: usize = 300;
/// Connections in a window before the first round, which nobody looks at.
const WARM_UP: usize = 50;
const FILL_LIMIT: Duration = Duration::from_secs(60);

/// How many ports, and how they were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// Each on its own.
    Scattered { ports: u16, relayed: bool },
    /// Ranges of ten thousand.
    Ranges { ports: u16 },
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

/// One port, then what is compared with it; the same over the relay.
const SERIES: [&[Case]; 2] = [
    &[
        Case::Scattered { ports: 1, relayed: false },
        Case::Scattered { ports: 1000, relayed: false },
        Case::Scattered { ports: 60_000, relayed: false },
        Case::Ranges { ports: 60_000 },
    ],
    &[
        Case::Scattered { ports: 1, relayed: true },
        Case::Scattered { ports: 1000, relayed: true },
        Case::Scattered { ports: 60_000, relayed: true },
    ],
];

/// Measures every case between two windows with one port, `rounds` times.
pub(crate) fn measure(program: &Path, rounds: u32, interrupt: &Interrupt) -> Result<Vec<First>> {
    let mut found = Vec::new();
    for cases in SERIES {
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

// === impl Measured ===

impl Measured {
    fn prepare(program: &Path, case: Case) -> Result<Self> {
        eprintln!("first packet: {}", case.name());
        let site = Site::start(&case.name(), program)?;
        let by_daemon = case.by_daemon();
        site.publish_all(&case.specs(by_daemon))?;
        if by_daemon < case.ports() && !case.is_relayed() {
            fill(&site, case, by_daemon)?;
        }
        let (connect, answer) = (Times::default(), Times::default());
        let first = First { case, by_daemon, connect, answer, ratio: None };
        Ok(Self { site, ports: case.visited(by_daemon), ratios: Vec::new(), first })
    }

    /// The median time until the first answer in one window.
    fn window(&mut self, knocks: usize) -> Result<f64> {
        let knocked = self.site.knock(&self.ports, knocks)?;
        let milliseconds = |times: &[f64]| times.iter().map(|it| it / 1e3).collect::<Vec<f64>>();
        self.first.connect.extend(&milliseconds(&knocked.connect_us));
        self.first.answer.extend(&milliseconds(&knocked.answer_us));
        // A connection to the relay is there before the target has been asked.
        let times =
            if self.first.case.is_relayed() { knocked.answer_us } else { knocked.connect_us };
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
    /// How many ports there are.
    pub(crate) fn ports(self) -> u16 {
        match self {
            Self::Scattered { ports, .. } | Self::Ranges { ports } => ports,
        }
    }

    /// Whether the relay serves, not the kernel.
    pub(crate) fn is_relayed(self) -> bool {
        matches!(self, Self::Scattered { relayed: true, .. })
    }

    /// Its name in tables and files.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Scattered { ports: 1, relayed } => format!("1 port{}", by_relay(relayed)),
            Self::Scattered { relayed: true, .. } => {
                format!("{} ports{}", self.by_daemon(), by_relay(true))
            }
            Self::Scattered { ports, .. } => format!("{ports} ports"),
            Self::Ranges { ports } => format!("{ports} ports in {} ranges", ports / RANGE),
        }
    }

    /// As many as there may be sockets; ranges as a whole.
    fn by_daemon(self) -> u16 {
        let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let room = u16::try_from(limit.saturating_sub(HEADROOM)).unwrap_or(u16::MAX);
        match self {
            Self::Scattered { ports, .. } => ports.min(room),
            Self::Ranges { ports } => ports.min(room) / RANGE * RANGE,
        }
    }

    fn specs(self, by_daemon: u16) -> Vec<String> {
        let target = Service::Short.port();
        let all = PORTS.take(by_daemon.into());
        match self {
            Self::Scattered { relayed, .. } => {
                let options = if relayed { ",via=relay" } else { "" };
                all.map(|port| format!("{port}:{target}{options}")).collect()
            }
            Self::Ranges { .. } => {
                let firsts = all.step_by(RANGE.into());
                firsts.map(|first| format!("{0}-{1}:{0}-{1}", first, first + (RANGE - 1))).collect()
            }
        }
    }

    /// The ports that the client connects to: from all over, where they lead to one service.
    fn visited(self, by_daemon: u16) -> Vec<u16> {
        match self {
            Self::Ranges { .. } => vec![Service::Short.port()],
            Self::Scattered { ports, relayed } => {
                let there = if relayed { by_daemon } else { ports };
                PORTS.take(there.into()).step_by(usize::from(there).div_ceil(50)).collect()
            }
        }
    }
}

fn by_relay(relayed: bool) -> &'static str {
    if relayed { " by the relay" } else { "" }
}

/// Puts the ports that the daemon had no sockets for where it would have put them.
fn fill(site: &Site, case: Case, by_daemon: u16) -> Result<()> {
    // Its table is nobody else's as long as it lives.
    site.scene.wharf.kill9("daemon")?;
    let (to, target) = (site.container, Service::Short.port());
    let missing = PORTS.take(case.ports().into()).skip(by_daemon.into());
    let (map, elements): (&str, Vec<String>) = match case {
        Case::Scattered { .. } => {
            ("ports4", missing.map(|port| format!("tcp . {port} : {to} . {target}")).collect())
        }
        Case::Ranges { .. } => {
            let firsts = missing.step_by(RANGE.into());
            let range = |first: u16| format!("tcp . {first}-{} : {to}", first + (RANGE - 1));
            ("port_ranges4", firsts.map(range).collect())
        }
    };
    let script = format!("add element inet wharf {map} {{ {} }}\n", elements.join(", "));
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped());
    let mut nft = site.scene.host.spawn(command)?;
    nft.feed(script.as_bytes())?;
    let output = nft.output(FILL_LIMIT)?;
    ensure!(output.is_success(), "nft does not fill {map}: {}", output.stderr.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_and_hold_the_service() {
        let case = Case::Ranges { ports: 60_000 };
        let specs = case.specs(20_000);
        assert_eq!(specs, ["5000-14999:5000-14999", "15000-24999:15000-24999"]);
        assert_eq!(case.visited(20_000), [Service::Short.port()]);
        assert!(PORTS.contains(&Service::Short.port()));
    }

    #[test]
    fn scattered_ports_are_visited_all_over() {
        let case = Case::Scattered { ports: 60_000, relayed: false };
        let visited = case.visited(18_000);
        assert_eq!((visited.len(), visited[0], visited[49]), (50, 5000, 63_800));
        assert_eq!(case.specs(2), ["5000:9001", "5001:9001"]);
    }
}
