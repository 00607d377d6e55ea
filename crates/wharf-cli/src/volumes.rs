//! `volume …`.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use serde_json::{Value, json};
use wharf_api::client::{ClientError, Part};
use wharf_api::{ErrorCode, VolumeCreate, VolumePrune, VolumeSummary, VolumesPruned};
use wharf_spec::Bytes;

use crate::args::{
    InspectArgs, Layout, VolumeCommand, VolumeCreateArgs, VolumeListArgs, VolumePruneArgs,
    VolumeRmArgs,
};
use crate::connect::Session;
use crate::create::labels;
use crate::failure::{Exit, Outcome, for_each, print_line};
use crate::listing::{inspect_each, joined, print_each, print_json, print_table};

/// `wharf volume …`.
pub(crate) async fn volume(session: &Session, command: VolumeCommand) -> Outcome {
    match command {
        VolumeCommand::Create(args) => create(session, args).await,
        VolumeCommand::Ls(args) => list(session, args).await,
        VolumeCommand::Inspect(args) => inspect(session, args).await,
        VolumeCommand::Rm(args) => remove(session, args).await,
        VolumeCommand::Prune(args) => prune(session, args).await,
    }
}

async fn create(session: &Session, args: VolumeCreateArgs) -> Outcome {
    let request = VolumeCreate { name: args.name, labels: labels(&args.label) };
    let created: VolumeSummary = session.post("/v1/volumes", &request).await?;
    print_line(&created.name)?;
    Ok(ExitCode::SUCCESS)
}

async fn list(session: &Session, args: VolumeListArgs) -> Outcome {
    let found: Vec<VolumeSummary> = session.get("/v1/volumes").await?;
    match args.format.unwrap_or_default() {
        Layout::Table => {}
        Layout::Json => return print_json(&found),
        Layout::Template(template) => return print_each(&template, found.iter().map(fields)),
    }
    if args.quiet {
        found.iter().try_for_each(|volume| print_line(&volume.name))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = found.into_iter().map(|volume| vec![volume.driver, volume.name]);
    print_table(&["DRIVER", "VOLUME NAME"], rows.collect())
}

/// A volume as templates see it, with Docker's names.
fn fields(volume: &VolumeSummary) -> Value {
    json!({
        "Name": volume.name,
        "Driver": volume.driver,
        "Scope": "local",
        "Mountpoint": volume.mountpoint,
        "Links": volume.used_by.len(),
        "CreatedAt": volume.created,
        "Labels": joined(&volume.labels),
    })
}

async fn inspect(session: &Session, args: InspectArgs) -> Outcome {
    let ask = async |name: &str| Ok(session.get(&format!("/v1/volumes/{}", Part(name))).await?);
    inspect_each(args, ask).await
}

async fn remove(session: &Session, args: VolumeRmArgs) -> Outcome {
    let force = args.force;
    for_each(&args.volumes, |name| async move {
        match session.delete::<serde_json::Value>(&format!("/v1/volumes/{}", Part(&name))).await {
            Ok(_) => Ok(name),
            Err(ClientError::Api(e)) if force && e.code == ErrorCode::NotFound => Ok(name),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

async fn prune(session: &Session, args: VolumePruneArgs) -> Outcome {
    let which = if args.all { "all" } else { "anonymous" };
    let warning =
        format!("This will remove {which} local volumes not used by at least one container.");
    if !args.force && !confirm(&warning)? {
        return Ok(ExitCode::SUCCESS);
    }
    let request = VolumePrune { all: args.all };
    let pruned: VolumesPruned = session.post("/v1/volumes-prune", &request).await?;
    if !pruned.removed.is_empty() {
        print_line("Deleted Volumes:")?;
        pruned.removed.iter().try_for_each(|name| print_line(name))?;
        print_line("")?;
    }
    print_line(&format!("Total reclaimed space: {}", Bytes(pruned.reclaimed)))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks on the terminal, or whatever standard input is, in Docker's words.
fn confirm(warning: &str) -> Result<bool, Exit> {
    print!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}
