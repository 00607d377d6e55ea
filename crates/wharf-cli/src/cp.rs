//! `cp`: Docker's rules for what ends up where, and tar streams either way.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::SyncIoBridge;
use wharf_api::client::{ClientError, Part};
use wharf_api::{ErrorCode, FileStat};
use wharf_runtime::Error;
use wharf_runtime::copy::{archive, unpack};

use crate::args::CpArgs;
use crate::connect::Session;
use crate::failure::{Exit, Outcome};

mod place;

use place::{Landing, Place};

/// What is on its way between a thread that makes or reads a tar stream and the daemon.
const ON_THE_WAY: usize = 1 << 20;

/// `wharf cp`.
pub(crate) async fn cp(session: &Session, args: CpArgs) -> Outcome {
    let (source, destination) = (Place::of(&args.source), Place::of(&args.destination));
    match (source, destination) {
        (Place::Container { name, path }, Place::Here(to)) => {
            out_of(session, &args, (name, path), to).await?;
        }
        (Place::Here(from), Place::Container { name, path }) => {
            into(session, &args, from, (name, path)).await?;
        }
        (Place::Container { .. }, Place::Container { .. }) => {
            return Err(Exit::failed(
                "copying between containers is not supported: copy to this host in between",
            ));
        }
        (Place::Here(_), Place::Here(_)) => {
            return Err(Exit::failed(
                "must specify at least one container source: write CONTAINER:PATH",
            ));
        }
    }
    if !args.quiet && args.destination != "-" {
        eprintln!("Successfully copied {} to {}", args.source, args.destination);
    }
    Ok(ExitCode::SUCCESS)
}

async fn out_of(
    session: &Session,
    args: &CpArgs,
    (name, path): (&str, &str),
    to: &str,
) -> Result<(), Exit> {
    let url = format!(
        "/v1/containers/{}/files?path={}&follow={}",
        Part(name),
        Part(path),
        args.follow_link
    );
    let client = session.ready().await?;
    if to == "-" {
        return Ok(client.download(&url, &mut tokio::io::stdout()).await?);
    }
    let source = stat(session, name, path, args.follow_link).await?;
    let source = source.ok_or_else(|| no_such(name, path))?;
    let target = PathBuf::from(to);
    let there = std::fs::metadata(&target).ok().map(|seen| seen.is_dir());
    let is_dir = source.is_dir && source.link_target.is_empty();
    let landing = Landing::of(path, is_dir, to, there, parent_is_dir(&target))?;
    let url = format!("{url}&name={}", Part(&landing.name.to_string_lossy()));
    let (mut writer, reader) = tokio::io::duplex(ON_THE_WAY);
    let owners = args.archive;
    let unpacked = unpack_here(reader, landing, owners);
    // The thread reads until nobody writes any more.
    let download = async move { client.download(&url, &mut writer).await };
    let (sent, unpacked) = tokio::join!(download, unpacked);
    // The thread's reason is the better one: it stops reading when it cannot write.
    unpacked?;
    Ok(sent?)
}

async fn into(
    session: &Session,
    args: &CpArgs,
    from: &str,
    (name, path): (&str, &str),
) -> Result<(), Exit> {
    let there = stat(session, name, path, true).await?;
    let url = |dir: &str| {
        let (name, dir) = (Part(name), Part(dir));
        format!("/v1/containers/{name}/files?path={dir}&owners={}", args.archive)
    };
    let client = session.ready().await?;
    if from == "-" {
        return Ok(client.put(&url(path), tokio::io::stdin()).await?);
    }
    let source = PathBuf::from(from);
    let seen = std::fs::symlink_metadata(&source)
        .and_then(|own| if args.follow_link { std::fs::metadata(&source) } else { Ok(own) })
        .map_err(|e| Exit::failed(format!("cannot look at {from}: {e}")))?;
    let parent = place::parent(path);
    let parent_is_dir = match there {
        Some(_) => true,
        None => stat(session, name, &parent, true).await?.is_some_and(|found| found.is_dir),
    };
    let is_dir = there.map(|found| found.is_dir);
    let landing = Landing::of(from, seen.is_dir(), path, is_dir, parent_is_dir)?;
    let (writer, reader) = tokio::io::duplex(ON_THE_WAY);
    let dir = landing.dir.to_string_lossy().into_owned();
    let made = archive_here(writer, source, landing.name, args.follow_link);
    let target = url(&dir);
    let (sent, made) = tokio::join!(client.put::<_, ()>(&target, reader), made);
    made.and(sent.map_err(Exit::from))
}

/// Unpacks a tar stream whose first name is to be `landing.name` here.
async fn unpack_here(
    reader: impl AsyncRead + Unpin + Send + 'static,
    landing: Landing,
    owners: bool,
) -> Result<(), Exit> {
    let runtime = tokio::runtime::Handle::current();
    let unpack = move || {
        let from = SyncIoBridge::new_with_handle(reader, runtime);
        unpack(&landing.dir, &landing.name, owners, from)
    };
    let done = tokio::task::spawn_blocking(unpack).await;
    let done = done.map_err(|e| Exit::failed(format!("unpacking stumbled: {e}")))?;
    done.map_err(|e| Exit::failed(format!("cannot write: {e}")))
}

/// Makes a tar stream of `source`, which is called `name` in it.
async fn archive_here(
    writer: impl AsyncWrite + Unpin + Send + 'static,
    source: PathBuf,
    name: PathBuf,
    follow: bool,
) -> Result<(), Exit> {
    let runtime = tokio::runtime::Handle::current();
    let shown = source.display().to_string();
    let make = move || {
        let mut writer = SyncIoBridge::new_with_handle(writer, runtime);
        archive(&source, follow, Some(&name), &mut writer)?;
        writer.shutdown().map_err(|source| Error::Io { action: "end the archive".into(), source })
    };
    let done = tokio::task::spawn_blocking(make).await;
    let done = done.map_err(|e| Exit::failed(format!("reading stumbled: {e}")))?;
    match done {
        // The daemon has stopped reading, and says why.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|e| Exit::failed(format!("cannot read {shown}: {e}"))),
    }
}

async fn stat(
    session: &Session,
    name: &str,
    path: &str,
    follow: bool,
) -> Result<Option<FileStat>, Exit> {
    let (container, place) = (Part(name), Part(path));
    let url = format!("/v1/containers/{container}/files/stat?path={place}&follow={follow}");
    match session.get(&url).await {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::Api(e))
            if e.code == ErrorCode::NotFound && e.message.contains("container:path") =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn no_such(name: &str, path: &str) -> Exit {
    Exit::failed(format!("no such container:path: {name}:{path}"))
}

fn parent_is_dir(path: &Path) -> bool {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => true,
        Some(parent) => parent.is_dir(),
        None => true,
    }
}
