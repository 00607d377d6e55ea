//! Docker and Podman beside us, and the ports they publish.

use std::time::Duration;

use wharf_api::Check;
use wharf_engine::{Error, PublishedPort};
use wharf_spec::{Engine, HostSide, Publication};

use super::{Patient, note, ok, problem};

/// Somebody waits for the doctor.
const LIMIT: Duration = Duration::from_secs(3);

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    [Engine::Docker, Engine::Podman].into_iter().flat_map(|engine| of(patient, engine)).collect()
}

fn of(patient: &Patient<'_>, engine: Engine) -> Vec<Check> {
    let place = engine.as_str();
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Vec::new() };
    let engines = patient.daemon.engines.clone().with_limit(LIMIT);
    let ports = match runtime.block_on(engines.published(engine)) {
        Ok(ports) => ports,
        Err(Error::NotRunning { .. }) => {
            return vec![ok(place, format!("{engine} does not answer here"))];
        }
        Err(error) => {
            return vec![note(
                place,
                error.to_string(),
                "its containers cannot be published, and its ports not compared with ours",
                &[],
            )];
        }
    };
    let clashes: Vec<Check> =
        ports.iter().filter_map(|port| clash(patient, engine, port)).collect();
    if clashes.is_empty() {
        let count = ports.len();
        return vec![ok(
            place,
            format!("{engine} answers; it publishes {count} ports or ranges, none of them ours"),
        )];
    }
    clashes
}

fn clash(patient: &Patient<'_>, engine: Engine, port: &PublishedPort) -> Option<Check> {
    let ours = patient.records.iter().find(|record| is_both(&record.publication, port))?;
    let publication = &ours.publication;
    let name = &port.name;
    let text = format!(
        "{engine}'s {name} publishes {}/{}, and so does Wharf ({})",
        port.host_ports, port.proto, publication.id
    );
    Some(problem(
        engine.as_str(),
        text,
        "whose rules come first answers, for each path perhaps another",
        &["publish one of the two on another port or address"],
    ))
}

fn is_both(publication: &Publication, port: &PublishedPort) -> bool {
    let everywhere =
        [std::net::Ipv4Addr::UNSPECIFIED.into(), std::net::Ipv6Addr::UNSPECIFIED.into()];
    let addresses = port.host_address.map_or(everywhere.to_vec(), |address| vec![address]);
    let theirs = HostSide { addresses, ports: port.host_ports };
    publication.proto == port.proto && publication.host.clashes(&theirs).is_some()
}
