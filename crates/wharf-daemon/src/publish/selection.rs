//! Which publications somebody means.

use wharf_api::UnpublishRequest;
use wharf_spec::{HostPorts, PortSpec, Publication};

use super::invalid;
use crate::error::{Error, Result};
use crate::record::PublicationRecord;

/// The ones of `records` that a request names; each spec must name one at least.
pub(super) fn select<'a>(
    records: impl Iterator<Item = &'a PublicationRecord>,
    request: &UnpublishRequest,
) -> Result<Vec<PublicationRecord>> {
    if request.all != request.specs.is_empty() {
        return Err(Error::Invalid(
            "give the port specs to take down, or --all for every one".into(),
        ));
    }
    let records: Vec<&PublicationRecord> = records.collect();
    let mut means = Vec::with_capacity(request.specs.len());
    for text in &request.specs {
        let meaning = Meaning::of(text)?;
        if !records.iter().any(|record| meaning.is(&record.publication)) {
            return Err(nothing(&records, text, request));
        }
        means.push(meaning);
    }
    let wanted = |record: &&PublicationRecord| {
        request.all || means.iter().any(|meaning| meaning.is(&record.publication))
    };
    Ok(records.into_iter().filter(wanted).cloned().collect())
}

fn nothing(records: &[&PublicationRecord], spec: &str, request: &UnpublishRequest) -> Error {
    let has: Vec<String> = records.iter().map(|record| text(&record.publication)).collect();
    let has = match has.is_empty() {
        true => "nothing is published for it".to_owned(),
        false => format!("what is published: {}", has.join(", ")),
    };
    Error::NotFound { kind: "publication", name: format!("{spec} of {}; {has}", request.target) }
}

/// A publication about as it was asked for.
pub(super) fn text(publication: &Publication) -> String {
    let (ports, target, proto) =
        (publication.host.ports, publication.target_ports, publication.proto);
    let addresses = publication.host.addresses.iter().filter(|a| !a.is_unspecified());
    let addresses = addresses.map(|address| match address.is_ipv6() {
        true => format!("[{address}]:{ports}:{target}/{proto}"),
        false => format!("{address}:{ports}:{target}/{proto}"),
    });
    match addresses.collect::<Vec<_>>() {
        some if !some.is_empty() => some.join(","),
        _ => format!("{ports}:{target}/{proto}"),
    }
}

/// What a text may mean: an identity, or a port spec.
struct Meaning {
    id: String,
    spec: Option<PortSpec>,
}

// === impl Meaning ===

impl Meaning {
    fn of(text: &str) -> Result<Self> {
        // Identities have twelve digits, and are no port.
        let is_id = text.len() == 12 && text.chars().all(|c| c.is_ascii_hexdigit());
        let spec = if is_id { None } else { Some(text.parse().map_err(invalid)?) };
        Ok(Self { id: text.to_owned(), spec })
    }

    fn is(&self, publication: &Publication) -> bool {
        let Some(spec) = &self.spec else { return publication.id.0 == self.id };
        let host_ports = match spec.host_ports {
            HostPorts::Exact(ports) => ports == publication.host.ports,
            HostPorts::AnyOf(ports) => ports.overlaps(publication.host.ports),
            HostPorts::Ephemeral => true,
        };
        let address = |address| publication.host.addresses == [address];
        spec.proto == publication.proto
            && spec.container_ports == publication.target_ports
            && host_ports
            && spec.host_ip.is_none_or(address)
    }
}
