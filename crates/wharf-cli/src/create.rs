//! `run` and `create`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wharf_api::{ContainerCreate, ContainerCreated, Started};
use wharf_spec::PortSpec;

use crate::args::{CreateArgs, RunArgs};
use crate::attach::{self, DetachKeys, Wish};
use crate::connect::Session;
use crate::env_file;
use crate::failure::{Exit, Outcome, print_line};
use crate::images::source::Source;
use crate::joining;

/// `wharf create`.
pub(crate) async fn create(session: &Session, args: CreateArgs) -> Outcome {
    let created = make(session, args, "create").await?;
    print_line(&created.id)?;
    Ok(ExitCode::SUCCESS)
}

/// `wharf run`.
pub(crate) async fn run(session: &Session, mut args: RunArgs) -> Outcome {
    let auto_remove = args.create.options.rm;
    args.create.options.terminal.detached = args.detach;
    let wish = wish(&args)?;
    let created = make(session, args.create, "run").await?;
    let started = if args.detach {
        start_detached(session, &created.id).await
    } else {
        if !wish.streams.stdout && !wish.streams.stderr {
            print_line(&created.id)?;
        }
        attach::start(session, &created.id, wish).await
    };
    if let Err(exit) = &started
        && (auto_remove || exit.is_refusal())
    {
        // A refusal leaves everything as it was: the name is free for the next try. What runs is not
        // removed this way.
        let path = format!("/v1/containers/{}?volumes=true", created.id);
        let _gone: Result<serde_json::Value, _> = session.delete(&path).await;
    }
    started
}

/// What is wanted of it in the foreground; what cannot be had is refused before anything is made.
fn wish(args: &RunArgs) -> Result<Wish, Exit> {
    let terminal = &args.create.options.terminal;
    let streams = terminal.streams()?;
    if terminal.tty && streams.stdin && !args.detach {
        attach::expect_on_stdin()?;
    }
    let keys = DetachKeys::parse(args.attaching.detach_keys.as_deref())?;
    let on_signal = attach::on_signal(terminal.tty, args.attaching.sig_proxy);
    Ok(Wish { streams, tty: terminal.tty, keys, on_signal })
}

async fn start_detached(session: &Session, id: &str) -> Outcome {
    let _started: Started =
        session.post(&format!("/v1/containers/{id}/start"), &()).await.map_err(Exit::from_run)?;
    print_line(id)?;
    Ok(ExitCode::SUCCESS)
}

async fn make(session: &Session, args: CreateArgs, verb: &str) -> Result<ContainerCreated, Exit> {
    let cidfile = args.options.cidfile.clone().map(IdFile::claim).transpose()?;
    let source = Source::new(&args.options.pull)?;
    let request = request(args, verb)?;
    source.before(session, &request.image).await?;
    let created: ContainerCreated = match session.post("/v1/containers", &request).await {
        Err(error) if source.can_get(&error) => {
            source.get(session, &request.image).await?;
            session.post("/v1/containers", &request).await
        }
        other => other,
    }
    .map_err(Exit::from_run)?;
    if let Some(file) = cidfile {
        file.fill(&created.id)?;
    }
    warn(&created.warnings);
    Ok(created)
}

pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("wharf: warning: {warning}");
    }
}

fn request(args: CreateArgs, verb: &str) -> Result<ContainerCreate, Exit> {
    let options = args.options;
    for spec in &options.publish {
        check_spec(spec, verb)?;
    }
    let mut networks = joining::networks(&options.network)?.into_iter();
    let first = networks.next().unwrap_or_default();
    let mut names = options.names.request(networks.collect())?;
    names.aliases.extend(first.aliases);
    Ok(ContainerCreate {
        name: options.name,
        image: absolute_source(&args.image)?,
        command: (!args.command.is_empty()).then_some(args.command),
        entrypoint: options.entrypoint.map(|e| if e.is_empty() { vec![] } else { vec![e] }),
        env: environment(&all(env_file::read(&options.env_file)?, options.env)),
        workdir: options.workdir,
        user: options.user,
        hostname: options.hostname,
        labels: labels(&all(env_file::read(&options.label_file)?, options.labels)),
        publish: options.publish,
        publish_all: options.publish_all,
        expose: options.expose,
        network: Some(first.network).filter(|name| !name.is_empty()),
        ip: options.ip.or(first.ip),
        ip6: options.ip6.or(first.ip6),
        volumes: options.volumes.iter().map(|v| absolute_bind(v)).collect::<Result<_, _>>()?,
        auto_remove: options.rm,
        terminal: options.terminal.request()?,
        resources: options.resources.request()?,
        security: options.security.request()?,
        storage: options.storage.request()?,
        names,
        supervision: options.supervision.request()?,
    })
}

/// What stands in files, and then what was said on the command line, which comes last and wins.
fn all(mut of_files: Vec<String>, said: Vec<String>) -> Vec<String> {
    of_files.extend(said);
    of_files
}

/// Refused here, so that nothing has been started or made for a spec that cannot be right.
fn check_spec(spec: &str, verb: &str) -> Result<(), Exit> {
    spec.parse::<PortSpec>()
        .map(drop)
        .map_err(|e| Exit::at_run(format!("{e}\nSee 'wharf {verb} --help'.")))
}

/// The daemon has another working directory, so paths travel absolute.
fn absolute_source(image: &str) -> Result<String, Exit> {
    for scheme in ["oci-archive:", "docker-archive:", "dir:"] {
        if let Some(path) = image.strip_prefix(scheme).filter(|path| !path.is_empty()) {
            return Ok(format!("{scheme}{}", absolute(path)?));
        }
    }
    Ok(image.to_owned())
}

fn absolute_bind(volume: &str) -> Result<String, Exit> {
    match volume.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => {
            Ok(format!("{}:{rest}", absolute(source)?))
        }
        _ => Ok(volume.to_owned()),
    }
}

pub(crate) fn absolute(path: &str) -> Result<String, Exit> {
    let absolute = std::path::absolute(Path::new(path))
        .map_err(|e| Exit::at_run(format!("cannot make {path:?} absolute: {e}")))?;
    Ok(absolute.to_string_lossy().into_owned())
}

/// `NAME` alone takes the value it has here, and is left out when it has none, as in Docker.
pub(crate) fn environment(given: &[String]) -> Vec<String> {
    given
        .iter()
        .filter_map(|entry| match entry.contains('=') {
            true => Some(entry.clone()),
            false => std::env::var(entry).ok().map(|value| format!("{entry}={value}")),
        })
        .collect()
}

pub(crate) fn labels(given: &[String]) -> BTreeMap<String, String> {
    given
        .iter()
        .map(|label| match label.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (label.clone(), String::new()),
        })
        .collect()
}

/// The file of `--cidfile`, which goes again if no container comes of it.
struct IdFile {
    path: PathBuf,
    file: Option<std::fs::File>,
}

// === impl IdFile ===

impl IdFile {
    fn claim(path: PathBuf) -> Result<Self, Exit> {
        let opened = std::fs::File::options().write(true).create_new(true).open(&path);
        let file = opened.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Exit::at_run(format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            )),
            _ => Exit::at_run(format!("cannot make {}: {e}", path.display())),
        })?;
        Ok(Self { path, file: Some(file) })
    }

    fn fill(mut self, id: &str) -> Result<(), Exit> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let written = std::io::Write::write_all(&mut file, id.as_bytes());
        written.map_err(|e| Exit::at_run(format!("cannot write {}: {e}", self.path.display())))
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}
