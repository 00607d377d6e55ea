//! The verbs for images and registries.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{InspectArgs, Layout, PruneArgs};

const PULL_NAMES: &str = "\
Names:
  nginx                       docker.io/library/nginx:latest
  grafana/grafana:11          docker.io/grafana/grafana:11
  registry.example:5000/app   the newest of app, from another registry
  nginx@sha256:…              exactly this image

A pull that was cut off goes on where it stopped. Passwords come from Docker's config.json
(DOCKER_CONFIG, ~/.docker by default), see `wharf login`.";

/// `wharf image …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Get an image from a registry
    Pull(PullArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Remove images that nothing uses
    Prune(ImagePruneArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Show how an image was made
    History(HistoryArgs),
    /// Show everything about images, as JSON
    Inspect(InspectArgs),
    /// Load images from an archive
    Load(LoadArgs),
    /// Write images into an archive
    Save(SaveArgs),
    /// Make an image of the tar of a root file system
    Import(ImportArgs),
}

/// `wharf images`.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Accepted for scripts: there are no intermediate images, so all are shown
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show where images were pulled from
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only some: dangling=true|false, reference=PATTERN (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print whole ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// How to print: table, json, or a template such as '{{.ID}} {{.Size}}' [default: table]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Layout>,
    /// Only those of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) name: Option<String>,
}

/// `wharf load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The archive to read (docker save or OCI layout); standard input when absent
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `wharf rmi`.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Remove the image although it has several names or stopped containers use it
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// `wharf pull`.
#[derive(Debug, Args)]
#[command(after_help = PULL_NAMES)]
pub(crate) struct PullArgs {
    /// For another platform than this machine's
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Print nothing but the whole name
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image's name, with a tag or digest
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) image: String,
}

/// How `run` and `create` get their image.
#[derive(Debug, Args)]
pub(crate) struct PullOptions {
    /// When to ask the registry for the image
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) pull: PullWhen,
    /// The platform the image must be for
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Show nothing of a pull
    #[arg(short = 'q', long = "quiet")]
    pub(crate) quiet: bool,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullWhen {
    /// Each time
    Always,
    /// When it is not here
    #[default]
    Missing,
    /// Not at all
    Never,
}

/// `wharf image prune`.
#[derive(Debug, Args)]
pub(crate) struct ImagePruneArgs {
    /// Those with a name, too, unless a container was made of them
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) prune: PruneArgs,
}

/// `wharf tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// The name it gets
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
}

/// `wharf history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Print everything at full length
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How to print: table, json, or a template such as '{{.ID}} {{.Size}}' [default: table]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Layout>,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// `wharf save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// The archive to write; standard output when absent
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Names or ids; names are kept in the archive
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// `wharf import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Say something about its containers, as a line of a Dockerfile does: CMD, ENTRYPOINT, ENV,
    /// EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR (repeatable)
    #[arg(short, long, value_name = "LINE")]
    pub(crate) change: Vec<String>,
    /// A remark for its history
    #[arg(short, long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) message: String,
    /// The platform it is for, when it is not this machine's
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// The tar, compressed or not; - is standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The name it gets
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
}

/// `wharf login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The user
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// The password; others see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// The registry (default: Docker's)
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) registry: Option<String>,
}

/// `wharf logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry (default: Docker's)
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) registry: Option<String>,
}
