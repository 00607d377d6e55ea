//! `port` and `ports`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use wharf_api::client::Part;
use wharf_api::{AddressesAndPorts, PortEntry};

use crate::args::{Format, PortArgs, PortsArgs};
use crate::connect::Session;
use crate::failure::{Exit, Outcome, print_line};
use crate::listing::{print_json, print_table};

/// Counters change without an event.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// `wharf port`.
pub(crate) async fn port(session: &Session, args: PortArgs) -> Outcome {
    let path = format!("/v1/containers/{}/port", Part(&args.container));
    let lines: Vec<wharf_api::port::PortLine> = session.get(&path).await?;
    let Some(asked) = &args.port else {
        if args.format == Format::Json {
            return print_json(&lines);
        }
        lines.iter().try_for_each(|l| print_line(&format!("{} -> {}", l.container, l.host)))?;
        return Ok(ExitCode::SUCCESS);
    };
    let wanted = if asked.contains('/') { asked.to_lowercase() } else { format!("{asked}/tcp") };
    let mut found = lines.iter().filter(|line| line.container == wanted).peekable();
    if found.peek().is_none() {
        return Err(Exit::failed(format!(
            "no public port '{asked}' published for {}",
            args.container
        )));
    }
    if args.format == Format::Json {
        return print_json(&found.collect::<Vec<_>>());
    }
    found.try_for_each(|line| print_line(&line.host))?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf ports`.
pub(crate) async fn ports(session: &Session, args: PortsArgs) -> Outcome {
    if !args.watch {
        return show(&session.get::<Vec<PortEntry>>("/v1/ports").await?, args.format);
    }
    let mut events = session.events().await?;
    loop {
        let entries: Vec<PortEntry> = session.get("/v1/ports").await?;
        if args.format == Format::Table && std::io::stdout().is_terminal() {
            // Back to the top, and whatever was there is gone.
            print_line("\u{1b}[H\u{1b}[2J")?;
        }
        show(&entries, args.format)?;
        let event = tokio::time::timeout(WATCH_PAUSE, events.next()).await;
        if matches!(event, Ok(Ok(None) | Err(_))) {
            // The daemon has ended; the ports go on, and the next question starts another.
            tokio::time::sleep(WATCH_PAUSE).await;
            events = session.events().await?;
        }
    }
}

fn show(entries: &[PortEntry], format: Format) -> Outcome {
    if format == Format::Json {
        return print_json(entries);
    }
    let rows = entries.iter().map(|entry| {
        vec![
            entry.target_name.clone(),
            endpoint(&entry.host, &entry.protocol),
            endpoint(&entry.target, &entry.protocol),
            entry.planes.join("+"),
            entry.source.clone(),
            entry.state.clone(),
            entry.connections.to_string(),
            size(entry.bytes_in.saturating_add(entry.bytes_out)),
            notes(entry),
        ]
    });
    let header =
        ["TARGET", "HOST", "LEADS TO", "PLANES", "SOURCE", "STATE", "OPEN", "RELAYED", "NOTES"];
    print_table(&header, rows.collect())
}

/// What there is to say of a publication besides its figures.
fn notes(entry: &PortEntry) -> String {
    let allow = (!entry.allow.is_empty()).then(|| format!("allows {}", entry.allow.join(", ")));
    let errors =
        entry.errors.iter().map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")));
    entry.notes.iter().cloned().chain(allow).chain(errors).collect::<Vec<_>>().join("; ")
}

pub(crate) fn endpoint(side: &AddressesAndPorts, protocol: &str) -> String {
    let addresses = side.addresses.iter().map(|address| {
        let bracketed =
            if address.contains(':') { format!("[{address}]") } else { address.clone() };
        format!("{bracketed}:{}", side.ports)
    });
    format!("{}/{protocol}", addresses.collect::<Vec<_>>().join(","))
}

/// A size in the largest decimal unit that keeps it above one.
pub(crate) fn size(bytes: u64) -> String {
    let units =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    for (unit, one) in units {
        if bytes >= one {
            let tenths = bytes / (one / 10);
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_docker() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(999), "999B");
        assert_eq!(size(1_500), "1.5kB");
        assert_eq!(size(12_345_678), "12.3MB");
    }
}
