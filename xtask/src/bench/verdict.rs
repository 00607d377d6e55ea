//! What the relay has to reach, and whether it did.
//!
//! The floors are ratios to the direct path on two processors shared by client, relay and server,
//! which is where a proxy looks worst: with a processor of its own it takes nothing from the ends.

use super::UNPACED;
use super::column::Column;
use super::costs::Costs;
use super::summary::{Figure, Summary};

const OURS: &str = "ours";
const DOCKER_PROXY: &str = "docker-proxy";
const SOCAT: &str = "socat";

/// Ratios that must be reached besides being ahead of everybody else.
const FLOORS: [(Column, f64); 7] = [
    (Column::Bulk1Up, 0.60),
    (Column::Bulk1Down, 0.60),
    (Column::Bulk8Up, 0.60),
    (Column::Bulk8Down, 0.60),
    (Column::Rr1, 0.85),
    (Column::Rr32, 0.55),
    (Column::Connections, 0.60),
];

/// What an idle connection may take of the relay's own memory, in KiB.
const IDLE_KIB: f64 = 16.0;

/// How many times as much must arrive as through these, with no more lost.
const UDP_FACTORS: [(&str, f64); 2] = [(SOCAT, 5.0), (DOCKER_PROXY, 3.0)];

/// One requirement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Requirement {
    /// What is required, with the numbers.
    pub(crate) text: String,
    pub(crate) met: bool,
}

/// Everything that can be judged from what was measured.
pub(crate) fn judge(summary: &Summary, costs: &[Costs]) -> Vec<Requirement> {
    let columns = summary.columns.iter().copied();
    let mut found: Vec<Requirement> =
        columns.flat_map(|column| in_column(summary, column)).collect();
    found.extend(costs.iter().filter(|cost| cost.name == OURS).map(small_when_idle));
    found
}

/// What is required of streams between ends that do not pace.
pub(crate) fn judge_unpaced(summary: &Summary) -> Vec<Requirement> {
    let each = |column: &Column| [ahead(summary, *column), cheaper(summary, *column)];
    let found = summary.columns.iter().flat_map(each).flatten();
    let unpaced = |it: Requirement| Requirement { text: format!("{UNPACED}, {}", it.text), ..it };
    found.map(unpaced).collect()
}

fn small_when_idle(costs: &Costs) -> Requirement {
    let user = costs.connection.user / 1024.0;
    let text = format!("idle connection: {user:.1} KiB of user memory, less than {IDLE_KIB:.0}");
    Requirement { text, met: user < IDLE_KIB }
}

/// Prints one line each.
pub(crate) fn print(requirements: &[Requirement]) {
    if requirements.is_empty() {
        return;
    }
    println!("\nrequired of ours\n");
    for Requirement { text, met } in requirements {
        println!("{:<8}{text}", if *met { "met" } else { "NOT MET" });
    }
}

fn in_column(summary: &Summary, column: Column) -> Vec<Requirement> {
    let mut found = Vec::new();
    found.extend(ahead(summary, column));
    found.extend(above_floor(summary, column, &FLOORS));
    if column.is_bulk() {
        found.extend(cheaper(summary, column));
    }
    if matches!(column, Column::UdpFlood | Column::UdpClean) {
        found.extend(UDP_FACTORS.iter().filter_map(|it| many_times(summary, column, *it)));
    }
    if column == Column::UdpFlood {
        found.extend(UDP_FACTORS.iter().filter_map(|it| loses_less(summary, column, it.0)));
    }
    found
}

fn ahead(summary: &Summary, column: Column) -> Option<Requirement> {
    let ours = summary.ratio(column, OURS)?;
    let peers = summary.others().filter(|name| *name != OURS);
    let ratios = peers.filter_map(|name| Some((name, summary.ratio(column, name)?)));
    let (name, best) = ratios.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let text = format!("{}: {ours:.2} is ahead of {name}, {best:.2}", column.name());
    Some(Requirement { text, met: ours > best })
}

/// Whether ours reaches what `floors` have for this column.
pub(crate) fn above_floor(
    summary: &Summary,
    column: Column,
    floors: &[(Column, f64)],
) -> Option<Requirement> {
    let (_, floor) = floors.iter().find(|(of, _)| *of == column)?;
    let ours = summary.ratio(column, OURS)?;
    let text = format!("{}: {ours:.2} is at least {floor:.2}", column.name());
    Some(Requirement { text, met: ours >= *floor })
}

fn cheaper(summary: &Summary, column: Column) -> Option<Requirement> {
    let cost = |name| summary.figure(column, name)?.cpu_per_gigabyte;
    let (ours, theirs) = (cost(OURS)?, cost(DOCKER_PROXY)?);
    let name = column.name();
    let text = format!("{name}: {ours:.2} s of processor per GB, docker-proxy takes {theirs:.2}");
    Some(Requirement { text, met: ours < theirs })
}

fn many_times(summary: &Summary, column: Column, peer: (&str, f64)) -> Option<Requirement> {
    let (name, factor) = peer;
    let rate = |name| summary.figure(column, name)?.rate;
    let times = rate(OURS)? / rate(name)?;
    let text = format!("{}: {times:.1} times {name}, at least {factor:.0}", column.name());
    Some(Requirement { text, met: times >= factor })
}

fn loses_less(summary: &Summary, column: Column, name: &str) -> Option<Requirement> {
    let percent = |figure: &Figure| figure.loss.map(|loss| loss * 100.0);
    let ours = percent(summary.figure(column, OURS)?)?;
    let theirs = percent(summary.figure(column, name)?)?;
    let text = format!("{}: loses {ours:.1} %, {name} {theirs:.1} %", column.name());
    Some(Requirement { text, met: ours <= theirs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::summary::tests::summary;

    fn verdict(figures: &[(Column, &str, f64)]) -> Vec<bool> {
        judge(&summary(figures), &[]).into_iter().map(|requirement| requirement.met).collect()
    }

    #[test]
    fn streams_must_be_ahead_above_the_floor_and_cheaper() {
        let figures = |ours| {
            let column = Column::Bulk1Up;
            [(column, "direct", 1.0), (column, "ours", ours), (column, "docker-proxy", 0.45)]
        };
        assert_eq!(verdict(&figures(0.61)), [true, true, true]);
        assert_eq!(verdict(&figures(0.50)), [true, false, true]);
        assert_eq!(verdict(&figures(0.40)), [false, false, false]);
    }

    #[test]
    fn datagrams_must_arrive_many_times_as_often() {
        let column = Column::UdpFlood;
        let figures = |ours| {
            [
                (column, "direct", 1.0),
                (column, "ours", ours),
                (column, "docker-proxy", 0.1),
                (column, "socat", 0.05),
            ]
        };
        assert_eq!(verdict(&figures(0.35)), [true; 5]);
        assert_eq!(verdict(&figures(0.28)), [true, true, false, true, true]);
    }

    #[test]
    fn streams_by_reno_must_be_ahead_and_cheaper() {
        let column = Column::Bulk8Up;
        let figures =
            [(column, "direct", 1.0), (column, "ours", 0.5), (column, "docker-proxy", 0.4)];
        let found = judge_unpaced(&summary(&figures));
        assert_eq!(found.iter().map(|it| it.met).collect::<Vec<_>>(), [true, true]);
        assert!(found.iter().all(|it| it.text.starts_with("reno, bulk8-up: ")));
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(verdict(&[(Column::Rr1, "direct", 1.0), (Column::Rr1, "ours", 0.9)]), [true]);
    }
}
