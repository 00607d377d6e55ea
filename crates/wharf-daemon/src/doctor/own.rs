//! Our own things: the relay, the way back, the publications.

use wharf_api::Check;
use wharf_host::transparent;

use super::{Patient, note, ok, problem};

/// More than this of the same is a number.
const TOLD: usize = 20;

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = vec![relay(patient), way_back(patient)];
    checks.extend(publications(patient));
    checks
}

fn relay(patient: &Patient<'_>) -> Check {
    let place = "relay";
    let planes = &patient.daemon.planes;
    let Some(pid) = planes.relay_pid() else {
        return match planes.sockets() {
            0 => ok(place, "the relay is started with the first published port"),
            sockets => problem(
                place,
                "the relay is not running",
                &format!("connections to {sockets} sockets wait"),
                &["the daemon starts it; its log says why that fails"],
            ),
        };
    };
    if is_stopped(pid) {
        return problem(
            place,
            format!("the relay, process {pid}, is stopped"),
            "connections through it stand still",
            &[&format!("kill -CONT {pid}")],
        );
    }
    let own = env!("CARGO_PKG_VERSION");
    match planes.relay_line() {
        None => problem(
            place,
            format!("the relay, process {pid}, does not answer"),
            "what it serves stays as it is, and new ports cannot be published",
            &["wharf relay upgrade"],
        ),
        Some(line) if line.release() != own => note(
            place,
            format!("the relay, process {pid}, is of version {}, the daemon {own}", line.release()),
            "it serves; mistakes that were mended since are still in it",
            &["wharf relay upgrade"],
        ),
        Some(_) => ok(
            place,
            format!("the relay, process {pid}, is alive; its sockets: {}", planes.sockets()),
        ),
    }
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('T' | 't'))
}

fn way_back(patient: &Patient<'_>) -> Check {
    let place = "way-back";
    if !patient.facts.transparent {
        return note(
            place,
            "this kernel lacks the socket expression of nftables, or policy routing",
            "containers see their gateway in place of the client where the relay serves",
            &["a kernel with CONFIG_NFT_SOCKET and CONFIG_IP_MULTIPLE_TABLES"],
        );
    }
    let needed = patient.records.iter().any(|record| {
        let (plan, _) = patient.daemon.planes.served(&record.publication.id);
        plan.is_some_and(|plan| plan.relay_keeps_clients)
    });
    match (needed, transparent::is_laid()) {
        (false, _) => ok(place, "no publication needs the way back for clients' addresses now"),
        (true, Ok(true)) => ok(place, "answers to clients' addresses are led to the relay"),
        (true, Ok(false)) => problem(
            place,
            "the policy rules that lead answers to the relay are not there, or behind others",
            "connections through the relay begin a second and a half late, and as the gateway",
            &["the daemon puts them back at once; `wharf events` tells who keeps changing them"],
        ),
        (true, Err(error)) => note(place, error.to_string(), "it cannot be looked at", &[]),
    }
}

fn publications(patient: &Patient<'_>) -> Vec<Check> {
    let place = "publication";
    let down = patient.records.iter().filter_map(|record| {
        let (_, lost) = patient.daemon.planes.served(&record.publication.id);
        let (id, ports) = (&record.publication.id, record.publication.host.ports);
        let proto = record.publication.proto;
        let which = format!("{ports}/{proto} ({id})");
        match (&record.suspended, lost) {
            (Some(why), _) => Some(note(
                place,
                format!("{which} is suspended: {why}"),
                "clients are refused until the target is back",
                &[],
            )),
            (None, Some(why)) => Some(problem(
                place,
                format!("{which} is down: {why}"),
                "the relay does not listen for it; it is tried again every two seconds",
                &[&format!("wharf explain {}/{proto}", ports.first())],
            )),
            (None, None) => None,
        }
    });
    let down: Vec<Check> = down.take(TOLD).collect();
    if down.is_empty() {
        return vec![ok(place, format!("in force: {}", patient.records.len()))];
    }
    down
}
