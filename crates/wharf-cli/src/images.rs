//! `images`, `load`, `rmi`.

use std::process::ExitCode;

use wharf_api::client::Part;
use wharf_api::{ImageRemoved, ImageSummary, Loaded};

use crate::args::{Format, ImagesArgs, LoadArgs, RmiArgs};
use crate::connect::Session;
use crate::failure::{Exit, Outcome, for_each, print_line};
use crate::listing::{age, print_json, print_table, short};
use crate::ports::size;

/// `wharf images`.
pub(crate) async fn images(session: &Session, args: ImagesArgs) -> Outcome {
    let found: Vec<ImageSummary> = session.get("/v1/images").await?;
    if args.format == Format::Json {
        return print_json(&found);
    }
    let id = |image: &ImageSummary| if args.no_trunc { image.id.clone() } else { short(&image.id) };
    if args.quiet {
        found.iter().try_for_each(|image| print_line(&id(image)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = found.iter().flat_map(|image| {
        let created = image.created.as_deref().map_or("N/A".into(), |c| format!("{} ago", age(c)));
        let mut names: Vec<(String, String)> = image.names.iter().map(|n| split_name(n)).collect();
        if names.is_empty() {
            names.push(("<none>".into(), "<none>".into()));
        }
        names
            .into_iter()
            .map(|(repository, tag)| {
                vec![repository, tag, id(image), created.clone(), size(image.size)]
            })
            .collect::<Vec<_>>()
    });
    print_table(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], rows.collect())
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
