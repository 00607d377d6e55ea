//! Options by what was said: in a spec, else by the flags of the request, else before.

use wharf_spec::{PortSpec, PublishOptions, SaidOptions};

use super::invalid;
use crate::error::Result;
use crate::record::PublicationRecord;
use crate::resolve::Wanted;

/// Gives each of `wanted` its options: what its own spec says, for the rest what `flags` say, and
/// for the rest of that what holds for the publication that is `there` already.
pub(super) fn settle<'a>(
    wanted: &mut [Wanted],
    flags: &str,
    there: impl Iterator<Item = Option<&'a PublicationRecord>>,
) -> Result<()> {
    let options: PublishOptions = flags.parse().map_err(invalid)?;
    let by_flags = SaidOptions::in_options(flags).map_err(invalid)?;
    for (one, there) in wanted.iter_mut().zip(there) {
        let said = said_in(&one.specs)?;
        one.options = said.apply(std::mem::take(&mut one.options), &options);
        if let Some(before) = there {
            let before = &before.publication.options;
            one.options = said.and(by_flags).apply(std::mem::take(&mut one.options), before);
        }
        one.specs = one.specs.iter().map(|text| rewritten(text, &one.options)).collect();
    }
    Ok(())
}

fn said_in(specs: &[String]) -> Result<SaidOptions> {
    specs.iter().try_fold(SaidOptions::default(), |all, text| {
        SaidOptions::in_spec(text).map(|said| all.and(said)).map_err(invalid)
    })
}

/// The spec with `options` as they are after all.
fn rewritten(text: &str, options: &PublishOptions) -> String {
    match text.parse::<PortSpec>() {
        Ok(spec) => PortSpec { options: options.clone(), ..spec }.to_string(),
        Err(_) => text.to_owned(),
    }
}
