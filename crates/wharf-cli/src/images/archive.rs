//! `save` and `import`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wharf_api::client::{Download, Part};
use wharf_api::{Loaded, SaveRequest};

use crate::args::{ImportArgs, SaveArgs};
use crate::connect::Session;
use crate::failure::{Exit, Outcome, print_line};

/// A file that is whole or not there.
struct Whole {
    path: PathBuf,
    beside: PathBuf,
    file: std::fs::File,
}

/// `wharf save`.
pub(crate) async fn save(session: &Session, args: SaveArgs) -> Outcome {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Exit::failed(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let request = SaveRequest { images: args.images };
    let client = session.ready().await?;
    let mut archive = client.post_bytes("/v1/images/save", &request).await?;
    match &args.output {
        Some(path) => {
            let mut file = Whole::new(path)?;
            pour(&mut archive, &mut file.file, &path.display().to_string()).await?;
            file.finish()?;
        }
        None => pour(&mut archive, &mut std::io::stdout().lock(), "the archive").await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn pour(archive: &mut Download, out: &mut impl Write, what: &str) -> Result<(), Exit> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::BrokenPipe => Exit::from(e),
        _ => Exit::failed(format!("cannot write {what}: {e}")),
    };
    loop {
        let piece = archive.next().await.map_err(|e| {
            Exit::failed(format!("the daemon gave up in the middle ({e}); its log says why"))
        })?;
        let Some(piece) = piece else { break };
        out.write_all(&piece).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// `wharf import`.
pub(crate) async fn import(session: &Session, args: ImportArgs) -> Outcome {
    let file = args.file.to_string_lossy();
    if file.contains("://") {
        return Err(Exit::failed(format!(
            "{file} is not fetched: get it with another program, as in `curl {file} | wharf import -`"
        )));
    }
    let changes = args.change.join("\n");
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let path = format!(
        "/v1/images/import?name={}&platform={}&message={}&changes={}",
        Part(&text(&args.name)),
        Part(&text(&args.platform)),
        Part(&args.message),
        Part(&changes)
    );
    let client = session.ready().await?;
    let made: Loaded = if args.file == Path::new("-") {
        client.upload(&path, tokio::io::stdin()).await?
    } else {
        let file = tokio::fs::File::open(&args.file)
            .await
            .map_err(|e| Exit::failed(format!("cannot open {file}: {e}")))?;
        client.upload(&path, file).await?
    };
    print_line(&format!("sha256:{}", made.id))?;
    Ok(ExitCode::SUCCESS)
}

// === impl Whole ===

impl Whole {
    fn new(path: &Path) -> Result<Self, Exit> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = PathBuf::from(beside);
        let file = std::fs::File::create(&beside)
            .map_err(|e| Exit::failed(format!("cannot make {}: {e}", beside.display())))?;
        Ok(Self { path: path.to_owned(), beside, file })
    }

    fn finish(self) -> Result<(), Exit> {
        std::fs::rename(&self.beside, &self.path)
            .map_err(|e| Exit::failed(format!("cannot make {}: {e}", self.path.display())))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // Gone already where it was finished.
        let _removed = std::fs::remove_file(&self.beside);
    }
}
