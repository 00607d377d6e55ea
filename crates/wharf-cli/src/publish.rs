//! `publish` and `unpublish`.

use std::process::ExitCode;

use wharf_api::{PortEntry, PublishRequest, Published, UnpublishRequest, Unpublished};

use crate::args::{Format, PublishArgs, UnpublishArgs};
use crate::connect::Session;
use crate::failure::{Outcome, print_line};
use crate::listing::print_json;
use crate::ports::endpoint;

/// `wharf publish`.
pub(crate) async fn publish(session: &Session, args: PublishArgs) -> Outcome {
    let format = args.format;
    let request = PublishRequest {
        options: options(&args),
        target: args.target,
        specs: args.specs,
        replace: args.replace,
    };
    let published: Published = session.post("/v1/publish", &request).await?;
    for warning in &published.warnings {
        eprintln!("wharf: {warning}");
    }
    if format == Format::Json {
        return print_json(&published.ports);
    }
    published.ports.iter().try_for_each(|entry| print_line(&line(entry)))?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf unpublish`.
pub(crate) async fn unpublish(session: &Session, args: UnpublishArgs) -> Outcome {
    let request = UnpublishRequest {
        target: args.target,
        specs: args.specs,
        all: args.all,
        drain_seconds: args.drain,
    };
    let gone: Unpublished = session.post("/v1/unpublish", &request).await?;
    gone.ids.iter().try_for_each(|id| print_line(id))?;
    Ok(ExitCode::SUCCESS)
}

/// The options as they would stand after a port spec.
fn options(args: &PublishArgs) -> String {
    let given = [
        args.via.as_ref().map(|plane| format!("via={plane}")),
        args.source.as_ref().map(|mode| format!("source={mode}")),
        args.proxy_protocol.as_ref().map(|version| format!("proxy-protocol={version}")),
    ];
    let allowed = args.allow.iter().map(|network| format!("allow={network}"));
    given.into_iter().flatten().chain(allowed).collect::<Vec<_>>().join(",")
}

fn line(entry: &PortEntry) -> String {
    let target = format!("{}:{}/{}", entry.target_name, entry.target.ports, entry.protocol);
    let planes = entry.planes.join("+");
    if entry.host.addresses.is_empty() {
        return format!("{target} on its own address ({planes})");
    }
    format!("{} -> {target} ({planes})", endpoint(&entry.host, &entry.protocol))
}
