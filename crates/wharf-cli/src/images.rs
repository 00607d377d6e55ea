//! The verbs for images.

use std::process::ExitCode;

use wharf_api::client::Part;
use wharf_api::{ImagePruneRequest, ImageRemoved, ImageSummary, ImagesPruned, Loaded, TagRequest};

use crate::args::{
    Format, ImageCommand, ImagePruneArgs, ImagesArgs, InspectArgs, LoadArgs, RmiArgs, TagArgs,
};
use crate::connect::Session;
use crate::failure::{Exit, Outcome, for_each, print_line};
use crate::listing::{age, print_json, print_table, short};
use crate::ports::size;

pub(crate) mod archive;
mod config;
mod filter;
pub(crate) mod history;
pub(crate) mod login;
mod progress;
pub(crate) mod pull;
pub(crate) mod source;

/// `wharf image …`.
pub(crate) async fn image(session: &Session, command: ImageCommand) -> Outcome {
    match command {
        ImageCommand::Ls(args) => images(session, args).await,
        ImageCommand::Pull(args) => pull::pull(session, args).await,
        ImageCommand::Rm(args) => rmi(session, args).await,
        ImageCommand::Prune(args) => prune(session, args).await,
        ImageCommand::Tag(args) => tag(session, args).await,
        ImageCommand::History(args) => history::history(session, args).await,
        ImageCommand::Inspect(args) => inspect(session, args).await,
        ImageCommand::Load(args) => load(session, args).await,
        ImageCommand::Save(args) => archive::save(session, args).await,
        ImageCommand::Import(args) => archive::import(session, args).await,
    }
}

/// `wharf images`.
pub(crate) async fn images(session: &Session, args: ImagesArgs) -> Outcome {
    let filter = filter::Filter::new(&args.filter, args.name.as_deref())?;
    let found: Vec<ImageSummary> = session.get("/v1/images").await?;
    let found = filter.apply(found);
    if args.format == Format::Json {
        return print_json(&found);
    }
    let id = |image: &ImageSummary| match args.no_trunc {
        true if args.digests => format!("sha256:{}", image.id),
        true => image.id.clone(),
        false => short(&image.id),
    };
    if args.quiet {
        found.iter().try_for_each(|image| print_line(&id(image)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = found.iter().flat_map(|image| {
        let created = image.created.as_deref().map_or("N/A".into(), |c| format!("{} ago", age(c)));
        names(image).into_iter().map(move |(repository, tag)| {
            let mut row = vec![repository.clone(), tag];
            row.extend(args.digests.then(|| digest(image, &repository)));
            row.extend([id(image), created.clone(), size(image.size)]);
            row
        })
    });
    let mut header = vec!["REPOSITORY", "TAG"];
    header.extend(args.digests.then_some("DIGEST"));
    header.extend(["IMAGE ID", "CREATED", "SIZE"]);
    print_table(&header, rows.collect())
}

/// A line for each name; what has none but was pulled has the repository at least.
fn names(image: &ImageSummary) -> Vec<(String, String)> {
    if !image.names.is_empty() {
        return image.names.iter().map(|name| split_name(name)).collect();
    }
    let repository = image.digests.first().and_then(|digest| digest.split('@').next());
    vec![(repository.unwrap_or("<none>").to_owned(), "<none>".to_owned())]
}

fn digest(image: &ImageSummary, repository: &str) -> String {
    let own =
        image.digests.iter().find_map(|digest| digest.strip_prefix(repository)?.strip_prefix('@'));
    own.unwrap_or("<none>").to_owned()
}

fn split_name(name: &str) -> (String, String) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.into(), tag.into()),
        _ => (name.into(), "<none>".into()),
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
    print_json(&found)?;
    Ok(code)
}

async fn prune(session: &Session, args: ImagePruneArgs) -> Outcome {
    let what = match args.all {
        true => "all images without at least one container made of them",
        false => "all dangling images",
    };
    if !args.force && !confirm(&format!("WARNING! This will remove {what}."))? {
        return Ok(ExitCode::SUCCESS);
    }
    let request = ImagePruneRequest { all: args.all };
    let pruned: ImagesPruned = session.post("/v1/images/prune", &request).await?;
    if !(pruned.untagged.is_empty() && pruned.deleted.is_empty()) {
        print_line("Deleted Images:")?;
        pruned.untagged.iter().try_for_each(|name| print_line(&format!("untagged: {name}")))?;
        pruned.deleted.iter().try_for_each(|id| print_line(&format!("deleted: {id}")))?;
        print_line("")?;
    }
    print_line(&format!("Total reclaimed space: {}", size(pruned.space_reclaimed)))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks before something goes; no answer means no.
fn confirm(warning: &str) -> Result<bool, Exit> {
    use std::io::Write;
    print_line(warning)?;
    print!("Are you sure you want to continue? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|e| Exit::failed(format!("cannot read the answer: {e}; use --force")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
