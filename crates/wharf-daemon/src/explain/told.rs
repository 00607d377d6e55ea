//! A way, in the words of the API.

use wharf_api::{Explanation, HopEntry};
use wharf_plan::explain::{Hop, Question, Way};

use crate::record::PublicationRecord;

pub(super) fn explanation(
    question: Question,
    publication: Option<(&str, &PublicationRecord)>,
    way: &Way,
) -> Explanation {
    let obstacle = way.obstacle();
    Explanation {
        protocol: question.proto.to_string(),
        address: question.address.to_string(),
        port: question.port,
        from: question.origin.to_string(),
        publication: publication.map(|(_, record)| record.publication.id.to_string()),
        target_name: publication.map(|(name, _)| name.to_owned()),
        path: way.path.map(word),
        plane: way.plane.map(|plane| plane.to_string()),
        source: way.source.map(|source| source.to_string()),
        works: obstacle.is_none(),
        fails_at: obstacle.map(|hop| word(hop.place)),
        hops: way.hops.iter().map(entry).collect(),
    }
}

fn entry(hop: &Hop) -> HopEntry {
    HopEntry {
        hop: word(hop.place),
        status: word(hop.status),
        text: hop.text.clone(),
        remedy: hop.remedy.clone(),
    }
}

/// A variant's name as it is in JSON.
fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
