//! The verbs for images.

use std::process::ExitCode;

use wharf_api::client::Part;
use wharf_api::{ImageRemoved, Loaded, TagRequest};

use crate::args::{ImageCommand, InspectArgs, Layout, LoadArgs, RmiArgs, TagArgs};
use crate::connect::Session;
use crate::failure::{Exit, Outcome, for_each, print_line};
use crate::listing::{print_each, print_json};
use crate::prune;

pub(crate) mod archive;
mod config;
mod filter;
pub(crate) mod history;
mod list;
pub(crate) mod login;
mod progress;
pub(crate) mod pull;
pub(crate) mod source;

pub(crate) use list::images;

/// `wharf image …`.
pub(crate) async fn image(session: &Session, command: ImageCommand) -> Outcome {
    match command {
        ImageCommand::Ls(args) => list::images(session, args).await,
        ImageCommand::Pull(args) => pull::pull(session, args).await,
        ImageCommand::Rm(args) => rmi(session, args).await,
        ImageCommand::Prune(args) => {
            let kind = if args.all { prune::ALL_IMAGES } else { prune::IMAGES };
            prune::prune(session, &args.prune, &[kind]).await
        }
        ImageCommand::Tag(args) => tag(session, args).await,
        ImageCommand::History(args) => history::history(session, args).await,
        ImageCommand::Inspect(args) => inspect(session, args).await,
        ImageCommand::Load(args) => load(session, args).await,
        ImageCommand::Save(args) => archive::save(session, args).await,
        ImageCommand::Import(args) => archive::import(session, args).await,
    }
}

/// `wharf load`.
pub(crate) async fn load(session: &Session, args: LoadArgs) -> Outcome {
    let client = session.ready().await?;
    let loaded: Vec<Loaded> = match &args.input {
        Some(path) => {
            let file = tokio::fs::File::open(path)
                .await
                .map_err(|e| Exit::failed(format!("cannot open {}: {e}", path.display())))?;
            client.upload("/v1/images/load", file).await?
        }
        None => client.upload("/v1/images/load", tokio::io::stdin()).await?,
    };
    if args.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    for image in &loaded {
        if image.names.is_empty() {
            print_line(&format!("Loaded image ID: sha256:{}", image.id))?;
        }
        image.names.iter().try_for_each(|name| print_line(&format!("Loaded image: {name}")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `wharf rmi`.
pub(crate) async fn rmi(session: &Session, args: RmiArgs) -> Outcome {
    let force = args.force;
    for_each(&args.images, |name| async move {
        let path = format!("/v1/images/{}?force={force}", Part(&name));
        let removed: ImageRemoved = session.delete(&path).await?;
        let untagged = removed.untagged.iter().map(|name| format!("Untagged: {name}"));
        let deleted = removed.deleted.iter().map(|id| format!("Deleted: {id}"));
        Ok(untagged.chain(deleted).collect::<Vec<_>>().join("\n"))
    })
    .await
}

/// `wharf tag`.
pub(crate) async fn tag(session: &Session, args: TagArgs) -> Outcome {
    let request = TagRequest { image: args.image, name: args.name };
    let _tagged: serde_json::Value = session.post("/v1/images/tag", &request).await?;
    Ok(ExitCode::SUCCESS)
}

async fn inspect(session: &Session, args: InspectArgs) -> Outcome {
    let mut found: Vec<serde_json::Value> = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for name in &args.names {
        match session.get(&format!("/v1/images/{}", Part(name))).await {
            Ok(image) => found.push(image),
            Err(error) => code = Exit::from(error).report(),
        }
    }
    match args.format.unwrap_or_default() {
        Layout::Template(template) => print_each(&template, found)?,
        Layout::Json | Layout::Table => print_json(&found)?,
    };
    Ok(code)
}
