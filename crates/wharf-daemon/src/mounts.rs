//! What a container sees besides its image: requests turned into binds, volumes and memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wharf_api::ContainerCreate;
use wharf_runtime::spec::{Bind, Tmpfs};
use wharf_spec::{Mount, MountKind, SpecError};

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::record::ContainerRecord;

/// What a request asks for is one of these.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) binds: Vec<Bind>,
    pub(crate) tmpfs: Vec<Tmpfs>,
}

/// The mounts a request asks for, as far as that can be said without touching anything.
pub(crate) fn asked(request: &ContainerCreate) -> Result<Vec<Mount>> {
    let storage = &request.storage;
    let volumes = request.volumes.iter().map(|text| Mount::from_volume(text));
    let mounts = storage.mounts.iter().map(|text| Mount::from_fields(text));
    let tmpfs = storage.tmpfs.iter().map(|text| Mount::from_tmpfs(text));
    let asked = volumes.chain(mounts).chain(tmpfs).collect::<Result<Vec<_>, SpecError>>();
    let asked = asked.map_err(|e| Error::Invalid(e.to_string()))?;
    let mut targets = BTreeSet::new();
    for mount in &asked {
        if !targets.insert(mount.target.as_str()) {
            return Err(Error::Invalid(format!("duplicate mount point: {}", mount.target)));
        }
        check_source(mount)?;
    }
    Ok(asked)
}

/// With Docker's text, and before anything is made.
fn check_source(mount: &Mount) -> Result<()> {
    let MountKind::Bind { source, create, .. } = &mount.kind else { return Ok(()) };
    let refuse =
        |why: String| Err(Error::Invalid(format!("invalid mount config for type \"bind\": {why}")));
    let path = Path::new(source);
    if !path.is_absolute() {
        return refuse(format!("invalid mount path: '{source}' must be absolute"));
    }
    if !create && !path.exists() {
        return refuse(format!("bind source path does not exist: {source}"));
    }
    Ok(())
}

// === impl Daemon ===

impl Daemon {
    /// Makes what a container is to see: volumes that are missing, directories that are to be made.
    /// Must be called with the volumes locked.
    pub(crate) fn make_mounts(
        &self,
        record: &ContainerRecord,
        of_image: &[String],
    ) -> Result<Mounts> {
        let mut made = Mounts::default();
        let asked = asked(&record.request)?;
        let inherited = self.inherited(&record.request.storage.volumes_from)?;
        let covers = |target: &Path| asked.iter().any(|mount| Path::new(&mount.target) == target);
        made.binds.extend(inherited.into_iter().filter(|bind| !covers(&bind.target)));
        for mount in &asked {
            self.make_mount(mount, record, &mut made)?;
        }
        for path in of_image {
            let mount = Mount::from_volume(path).map_err(|e| Error::Invalid(e.to_string()))?;
            let target = Path::new(&mount.target);
            let taken = made.binds.iter().map(|bind| &bind.target);
            let mut taken = taken.chain(made.tmpfs.iter().map(|tmpfs| &tmpfs.target));
            if !taken.any(|path| path == target) {
                self.make_mount(&mount, record, &mut made)?;
            }
        }
        Ok(made)
    }

    fn make_mount(&self, mount: &Mount, record: &ContainerRecord, made: &mut Mounts) -> Result<()> {
        let target = PathBuf::from(&mount.target);
        let bind = match &mount.kind {
            MountKind::Tmpfs { options } => {
                let mut options = options.clone();
                options.extend(mount.read_only.then(|| "ro".to_owned()));
                made.tmpfs.push(Tmpfs { target, options });
                return Ok(());
            }
            MountKind::Bind { source, recursive, deep, .. } => {
                let path = Path::new(source);
                if !path.exists() {
                    std::fs::create_dir_all(path)
                        .map_err(Error::io(format!("make {source} for a bind")))?;
                }
                Bind { shallow: !recursive, writable_below: !deep, ..Bind::new(source, target) }
            }
            MountKind::Volume { name, copy, labels } => {
                let volume = match name {
                    Some(name) => self.ensure_volume(name, labels)?,
                    None => self.make_anonymous_volume(labels, &record.id)?,
                };
                Bind {
                    copy_up: *copy,
                    volume: Some(volume.clone()),
                    ..Bind::new(self.paths.volume_data(&volume), target)
                }
            }
        };
        made.binds.push(Bind { read_only: mount.read_only, ..bind });
        Ok(())
    }

    /// What other containers have mounted, as after `--volumes-from`.
    fn inherited(&self, from: &[String]) -> Result<Vec<Bind>> {
        let mut found: Vec<Bind> = Vec::new();
        for text in from {
            let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
            let read_only = match mode {
                "rw" => false,
                "ro" => true,
                _ => {
                    return Err(Error::Invalid(format!(
                        "invalid mode for volumes-from: {mode}: use CONTAINER, or CONTAINER:ro"
                    )));
                }
            };
            let other = self.ledger.read(|state| state.find_container(name).cloned())?;
            for bind in other.spec.binds {
                found.retain(|have| have.target != bind.target);
                found.push(Bind { read_only: bind.read_only || read_only, ..bind });
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(volumes: &[&str], mounts: &[&str], tmpfs: &[&str]) -> ContainerCreate {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let mut request = ContainerCreate { volumes: list(volumes), ..ContainerCreate::default() };
        request.storage.mounts = list(mounts);
        request.storage.tmpfs = list(tmpfs);
        request
    }

    #[test]
    fn one_place_takes_one_mount() {
        let asked = |r: &ContainerCreate| super::asked(r).map(|mounts| mounts.len());
        assert_eq!(asked(&request(&["/a:/b"], &["dst=/c"], &["/d"])).unwrap(), 3);
        let error = asked(&request(&["/a:/b"], &["dst=/b"], &[])).unwrap_err().to_string();
        assert_eq!(error, "duplicate mount point: /b");
        assert!(asked(&request(&[], &["dst=/b"], &["/b"])).is_err());
    }

    #[test]
    fn a_mount_of_a_path_that_is_missing_is_refused() {
        let of = |text: &str| super::asked(&request(&[], &[text], &[])).unwrap_err().to_string();
        let error = of("type=bind,source=/no/such/path,target=/b");
        assert!(error.ends_with("bind source path does not exist: /no/such/path"), "{error}");
        assert!(of("type=bind,source=a,target=/b").contains("must be absolute"));
        // After -v it is made, as a directory.
        assert!(super::asked(&request(&["/no/such/path:/b"], &[], &[])).is_ok());
    }
}
