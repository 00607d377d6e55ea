//! `pull`, and the pulls of `run` and `create`.

use std::io::IsTerminal;
use std::process::ExitCode;

use wharf_api::{PullEvent, PullRequest};
use wharf_runtime::image::Reference;

use super::config::Config;
use super::progress::Progress;
use crate::args::PullArgs;
use crate::connect::Session;
use crate::failure::{Exit, Outcome, print_line};

/// What is shown of a pull, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing.
    Nothing,
    /// A line for each step, on standard output or standard error.
    Lines(Channel),
    /// A bar for each layer.
    Bars(Channel),
}

/// Where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Standard output: it is what the verb is for.
    Output,
    /// Standard error: standard output is the container's.
    Error,
}

/// What a pull came to.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The whole name.
    pub(crate) name: String,
}

/// `wharf pull`.
pub(crate) async fn pull(session: &Session, args: PullArgs) -> Outcome {
    let shown = match args.quiet {
        true => Shown::Nothing,
        false if std::io::stdout().is_terminal() => Shown::Bars(Channel::Output),
        false => Shown::Lines(Channel::Output),
    };
    let fetched = fetch(session, &args.image, args.platform.as_deref(), shown).await?;
    print_line(&fetched.name)?;
    Ok(ExitCode::SUCCESS)
}

/// Pulls `image` and shows how it goes.
pub(super) async fn fetch(
    session: &Session,
    image: &str,
    platform: Option<&str>,
    shown: Shown,
) -> Result<Fetched, Exit> {
    let reference: Reference =
        image.parse().map_err(|e: wharf_runtime::Error| Exit::failed(e.to_string()))?;
    let credential = Config::load()?.credential(reference.registry()).await?;
    let request =
        PullRequest { image: image.to_owned(), platform: platform.map(str::to_owned), credential };
    let mut progress = Progress::new(shown);
    if reference.to_string() == reference.repository() {
        progress.line("Using default tag: latest")?;
    }
    progress.line(&format!("{}: Pulling from {}", reference.wanted(), reference.path()))?;
    let client = session.ready().await?;
    let mut events = client.post_lines("/v1/images/pull", &request).await?;
    loop {
        let event = events.next().await.map_err(|e| {
            Exit::failed(format!("{e}; pull again, and it goes on where it stopped"))
        })?;
        match event {
            Some(PullEvent::Resolved { .. }) => {}
            Some(PullEvent::Layer { id, state, current, total, detail }) => {
                progress.layer(&id, state, (current, total), detail.as_deref())?;
            }
            Some(PullEvent::Done { name, digest, is_new, .. }) => {
                progress.end();
                progress.line(&format!("Digest: {digest}"))?;
                let named = reference
                    .digest()
                    .map_or_else(|| reference.tagged(), |_| reference.to_string());
                progress.line(&match is_new {
                    true => format!("Status: Downloaded newer image for {named}"),
                    false => format!("Status: Image is up to date for {named}"),
                })?;
                return Ok(Fetched { name });
            }
            Some(PullEvent::Failed(error)) => {
                progress.end();
                return Err(Exit::failed(error.message));
            }
            None => {
                progress.end();
                return Err(Exit::failed(
                    "the daemon ended in the middle of the pull; pull again, and it goes on where \
                     it stopped",
                ));
            }
        }
    }
}

// === impl Shown ===

impl Shown {
    /// For a pull on the way to a container.
    pub(crate) fn for_run() -> Self {
        match std::io::stderr().is_terminal() {
            true => Self::Bars(Channel::Error),
            false => Self::Lines(Channel::Error),
        }
    }
}
