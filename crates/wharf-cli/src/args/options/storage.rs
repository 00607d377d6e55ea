//! Flags of `run` and `create`: what a container sees besides its image, and whether it may write.

use clap::Args;
use wharf_api::options::Storage;
use wharf_spec::Mount;

use crate::failure::Exit;

/// What a new container is told of what it sees besides its image, and whether it may write.
#[derive(Debug, Args)]
#[command(next_help_heading = "Mounts")]
pub(crate) struct StorageOptions {
    /// Let it write to volumes and tmpfs only
    #[arg(long)]
    read_only: bool,
    /// Mount a path, a volume or memory, as type=bind|volume|tmpfs,source=…,target=…,…
    /// (repeatable)
    #[arg(long, value_name = "FIELDS")]
    mount: Vec<String>,
    /// Mount memory (repeatable)
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Mount what another container has mounted (repeatable)
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,
    /// Refused with a reason: volumes are directories here
    #[arg(long, hide = true, value_name = "DRIVER")]
    volume_driver: Option<String>,
    /// Refused with a reason: the writable layer has no size of its own
    #[arg(long, hide = true, value_name = "OPTION")]
    storage_opt: Vec<String>,
}

// === impl StorageOptions ===

impl StorageOptions {
    /// The same as the API takes it.
    pub(crate) fn request(self) -> Result<Storage, Exit> {
        if self.volume_driver.is_some_and(|driver| driver != "local") {
            return Err(Exit::at_run(
                "--volume-driver is not available: volumes are directories of this host; leave it out",
            ));
        }
        if !self.storage_opt.is_empty() {
            return Err(Exit::at_run(
                "--storage-opt is not available: the writable layer is a directory and has no size \
                 of its own; leave it out",
            ));
        }
        let refuse = |e: wharf_spec::SpecError| Exit::at_run(e.to_string());
        for text in &self.mount {
            Mount::from_fields(text).map_err(refuse)?;
        }
        for text in &self.tmpfs {
            Mount::from_tmpfs(text).map_err(refuse)?;
        }
        Ok(Storage {
            read_only: self.read_only,
            mounts: self
                .mount
                .iter()
                .map(|text| absolute_source(text))
                .collect::<Result<_, _>>()?,
            tmpfs: self.tmpfs,
            volumes_from: self.volumes_from,
        })
    }
}

/// The daemon has another working directory, so paths travel absolute. Quoted fields are left to
/// the daemon, which refuses relative paths.
fn absolute_source(text: &str) -> Result<String, Exit> {
    if text.contains('"') {
        return Ok(text.to_owned());
    }
    let field = |field: &str| match field.split_once('=') {
        Some((key @ ("source" | "src"), path)) if path.starts_with('.') => {
            Ok(format!("{key}={}", crate::create::absolute(path)?))
        }
        _ => Ok(field.to_owned()),
    };
    let fields: Vec<String> = text.split(',').map(field).collect::<Result<_, Exit>>()?;
    Ok(fields.join(","))
}
