//! `history`.

use std::process::ExitCode;

use serde_json::json;
use wharf_api::HistoryEntry;
use wharf_api::client::Part;

use crate::args::{HistoryArgs, Layout};
use crate::connect::Session;
use crate::failure::{Outcome, print_line};
use crate::listing::{age, print_each, print_json, print_table, short};
use crate::ports::size;

const COMMAND_WIDTH: usize = 45;
const MISSING: &str = "<missing>";

/// `wharf history`.
pub(crate) async fn history(session: &Session, args: HistoryArgs) -> Outcome {
    let path = format!("/v1/history/{}", Part(&args.image));
    let found: Vec<HistoryEntry> = session.get(&path).await?;
    let id = |entry: &HistoryEntry| match &entry.id {
        Some(id) if args.no_trunc => format!("sha256:{id}"),
        Some(id) => short(id),
        None => MISSING.to_owned(),
    };
    if args.quiet {
        found.iter().try_for_each(|entry| print_line(&id(entry)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let since = |entry: &HistoryEntry| {
        entry.created.as_deref().map_or("N/A".into(), |created| format!("{} ago", age(created)))
    };
    let command = |entry: &HistoryEntry| {
        let command = entry.created_by.replace(['\t', '\n'], " ");
        if args.no_trunc { command } else { elide(&command) }
    };
    match args.format.unwrap_or_default() {
        Layout::Json => return print_json(&found),
        Layout::Template(template) => {
            let fields = found.iter().map(|entry| {
                json!({"ID": id(entry), "CreatedSince": since(entry), "CreatedAt": entry.created,
                    "CreatedBy": command(entry), "Size": size(entry.size),
                    "Comment": entry.comment})
            });
            return print_each(&template, fields);
        }
        Layout::Table => {}
    }
    let rows = found.iter().map(|entry| {
        vec![id(entry), since(entry), command(entry), size(entry.size), entry.comment.clone()]
    });
    print_table(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], rows.collect())
}

fn elide(command: &str) -> String {
    if command.chars().count() <= COMMAND_WIDTH {
        return command.to_owned();
    }
    let kept: String = command.chars().take(COMMAND_WIDTH - 1).collect();
    format!("{kept}…")
}
