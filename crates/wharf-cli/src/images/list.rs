//! `images`.

use std::process::ExitCode;

use serde_json::{Value, json};
use wharf_api::ImageSummary;

use super::filter::Filter;
use crate::args::{ImagesArgs, Layout};
use crate::connect::Session;
use crate::failure::{Outcome, print_line};
use crate::listing::{age, print_each, print_json, print_table, short};
use crate::ports::size;

const NONE: &str = "<none>";

/// One name of one image.
struct Row<'a> {
    image: &'a ImageSummary,
    repository: String,
    tag: String,
}

/// `wharf images`.
pub(crate) async fn images(session: &Session, args: ImagesArgs) -> Outcome {
    let filter = Filter::new(&args.filter, args.name.as_deref())?;
    let found: Vec<ImageSummary> = session.get("/v1/images").await?;
    let found = filter.apply(found);
    let id = |image: &ImageSummary| match args.no_trunc {
        true => image.id.clone(),
        false => short(&image.id),
    };
    if args.quiet {
        found.iter().try_for_each(|image| print_line(&id(image)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = found.iter().flat_map(rows);
    match args.format.unwrap_or_default() {
        Layout::Json => return print_json(&found),
        Layout::Template(template) => {
            return print_each(&template, rows.map(|row| row.fields(id)));
        }
        Layout::Table => {}
    }
    let rows = rows.map(|row| {
        let mut cells = vec![row.repository.clone(), row.tag.clone()];
        cells.extend(args.digests.then(|| row.digest().to_owned()));
        cells.extend([id(row.image), row.since(), size(row.image.size)]);
        cells
    });
    let mut header = vec!["REPOSITORY", "TAG"];
    header.extend(args.digests.then_some("DIGEST"));
    header.extend(["IMAGE ID", "CREATED", "SIZE"]);
    print_table(&header, rows.collect())
}

/// A row for each name; what has none but was pulled has the repository at least.
fn rows(image: &ImageSummary) -> Vec<Row<'_>> {
    let row = |(repository, tag): (&str, &str)| Row {
        image,
        repository: repository.to_owned(),
        tag: tag.to_owned(),
    };
    if !image.names.is_empty() {
        return image.names.iter().map(|name| row(split_name(name))).collect();
    }
    let repository = image.digests.first().and_then(|digest| digest.split('@').next());
    vec![row((repository.unwrap_or(NONE), NONE))]
}

fn split_name(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, NONE),
    }
}

// === impl Row ===

impl Row<'_> {
    fn digest(&self) -> &str {
        let mut all = self.image.digests.iter().filter_map(|digest| digest.split_once('@'));
        all.find(|(repository, _)| *repository == self.repository).map_or(NONE, |(_, own)| own)
    }

    fn since(&self) -> String {
        let created = self.image.created.as_deref();
        created.map_or_else(|| "N/A".into(), |created| format!("{} ago", age(created)))
    }

    /// As templates see it, with Docker's names.
    fn fields(&self, id: impl Fn(&ImageSummary) -> String) -> Value {
        json!({
            "ID": id(self.image),
            "Repository": self.repository,
            "Tag": self.tag,
            "Digest": self.digest(),
            "CreatedSince": self.since(),
            "CreatedAt": self.image.created,
            "Size": size(self.image.size),
        })
    }
}
