//! Listings: `ps`, `inspect`, `version`, and how tables and JSON are printed.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use wharf_api::client::{ClientError, Part};
use wharf_api::{ContainerState, ContainerSummary, ErrorCode, Version};

use crate::args::{Format, InspectArgs, Layout, ListArgs, PsArgs};
use crate::connect::Session;
use crate::failure::{Exit, Outcome, print_line};
use crate::template::Template;

mod filter;

use filter::Filter;

/// Ids are shown at this length where they need not be whole, as in Docker.
pub(crate) const SHORT_ID: usize = 12;
const COMMAND_WIDTH: usize = 22;

/// `wharf ps`.
pub(crate) async fn ps(session: &Session, args: PsArgs) -> Outcome {
    let filter = Filter::new(&args.filter)?;
    let last = args.last.or(args.latest.then_some(1));
    let all = args.all || last.is_some() || filter.is_about_state();
    let mut found: Vec<ContainerSummary> = session.get("/v1/containers").await?;
    found.retain(|c| all || c.state.is_alive() || c.state == ContainerState::Restarting);
    found.retain(|c| filter.passes(c));
    if let Some(count) = last {
        // They come with the latest first.
        found.truncate(count);
    }
    match args.format.unwrap_or_default() {
        Layout::Table => {}
        Layout::Json => return print_json(&found),
        Layout::Template(template) => {
            return print_each(&template, found.iter().map(|c| fields(c, args.no_trunc)));
        }
    }
    let id = |c: &ContainerSummary| if args.no_trunc { c.id.clone() } else { short(&c.id) };
    if args.quiet {
        found.iter().try_for_each(|c| print_line(&id(c)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = found.iter().map(|c| {
        let command = if args.no_trunc { c.command.clone() } else { elide(&c.command) };
        let created = format!("{} ago", age(&c.created));
        let image = c.image.clone();
        let status = c.status.clone();
        vec![
            id(c),
            image,
            format!("\"{command}\""),
            created,
            status,
            c.ports_text.clone(),
            c.name.clone(),
        ]
    });
    let header = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    print_table(&header, rows.collect())
}

/// A container as templates see it, with Docker's names.
fn fields(container: &ContainerSummary, whole: bool) -> Value {
    let command = if whole { container.command.clone() } else { elide(&container.command) };
    json!({
        "ID": if whole { container.id.clone() } else { short(&container.id) },
        "Names": container.name,
        "Image": container.image,
        "Command": format!("\"{command}\""),
        "CreatedAt": container.created,
        "RunningFor": format!("{} ago", age(&container.created)),
        "State": container.state,
        "Status": container.status,
        "Ports": container.ports_text,
        "Networks": container.networks.join(","),
        "Labels": joined(&container.labels),
    })
}

/// Prints a line for each of `found`.
pub(crate) fn print_each(template: &Template, found: impl IntoIterator<Item = Value>) -> Outcome {
    let render = |value: &Value| template.render(value).map_err(|e| Exit::failed(e.to_string()));
    if let Some(headings) = template.headings() {
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let rows = found.into_iter().map(|value| render(&value)).collect::<Result<_, _>>()?;
        return print_table(&headings, rows);
    }
    for value in found {
        print_line(&render(&value)?.concat())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `wharf inspect`: a container, an image or a network of that name, whichever there is first.
pub(crate) async fn inspect(session: &Session, args: InspectArgs) -> Outcome {
    inspect_each(args, async |name| inspect_any(session, name).await).await
}

/// `wharf … inspect` of things that `ask` knows by name.
pub(crate) async fn inspect_each(
    args: InspectArgs,
    ask: impl AsyncFn(&str) -> Result<Value, Exit>,
) -> Outcome {
    let mut found = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        match ask(name).await {
            Ok(value) => found.push(value),
            Err(exit) => code = exit.report(),
        }
    }
    match args.format.unwrap_or_default() {
        Layout::Template(template) => print_each(&template, found)?,
        Layout::Json | Layout::Table => print_json(&found)?,
    };
    Ok(code)
}

async fn inspect_any(session: &Session, name: &str) -> Result<serde_json::Value, Exit> {
    for kind in ["containers", "images", "networks", "volumes"] {
        match session.get(&format!("/v1/{kind}/{}", Part(name))).await {
            Ok(value) => return Ok(value),
            // What is no name of an image may be one of something else.
            Err(ClientError::Api(e))
                if matches!(e.code, ErrorCode::NotFound | ErrorCode::Invalid) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Exit::failed(format!("no such container, image, network or volume: {name}")))
}

/// `wharf version`.
pub(crate) async fn version(session: &Session, args: ListArgs) -> Outcome {
    let daemon: Option<Version> = match session.client().get("/v1/version").await {
        Ok(version) => Some(version),
        Err(ClientError::Connect { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let own = env!("CARGO_PKG_VERSION");
    if args.format == Format::Json {
        return print_json(&[serde_json::json!({ "client": own, "daemon": daemon })]);
    }
    print_line(&format!("wharf {own}"))?;
    match daemon {
        Some(daemon) => print_line(&format!("daemon {} (pid {})", daemon.version, daemon.pid))?,
        None => print_line("daemon not running (verbs start it when they need it)")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints `value` as JSON.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, value)?;
    writeln!(stdout)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints columns as Docker does: no lines, three blanks between.
pub(crate) fn print_table(header: &[&str], rows: Vec<Vec<String>>) -> Outcome {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().try_for_each(|line| print_line(line.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

/// The first twelve digits of an id.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(SHORT_ID).collect()
}

/// Labels as templates see them, with Docker's commas.
pub(crate) fn joined(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.join(",")
}

fn elide(command: &str) -> String {
    if command.chars().count() <= COMMAND_WIDTH {
        return command.to_owned();
    }
    let kept: String = command.chars().take(COMMAND_WIDTH - 1).collect();
    format!("{kept}…")
}

/// The time since `moment` (RFC 3339) in one unit, for people.
pub(crate) fn age(moment: &str) -> String {
    let Ok(moment) = moment.parse::<jiff::Timestamp>() else { return "some time".into() };
    let seconds = jiff::Timestamp::now().as_second().saturating_sub(moment.as_second()).max(0);
    wharf_daemon::clock::rough(seconds)
}
