//! A container's root: its image's layers under its own writable one, joined by overlayfs.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::cgroup::Layout;
use crate::error::{Context, Error, Result};
use crate::spec::ContainerSpec;

const OVERLAY_MAGIC: u64 = 0x794c_7630;
/// A process that has just been killed may still be letting go.
const UNMOUNT_TRIES: u32 = 50;
const UNMOUNT_POLL: Duration = Duration::from_millis(2);

/// A mounted root; unmounted on drop, unless that was done and checked before.
#[derive(Debug)]
pub(super) struct Rootfs {
    mounted: Option<PathBuf>,
}

// === impl Rootfs ===

impl Rootfs {
    /// Mounts the root of `spec`; `run_dir` is where short names for the layers are put.
    pub(super) fn mount(spec: &ContainerSpec, run_dir: &Path) -> Result<Self> {
        let names = run_dir.join("layers");
        let root = spec.dir.join("rootfs");
        prepare(spec, &root, &names).during(|| format!("prepare {}", spec.dir.display()))?;
        let keeps_out = spec.security.privileged || Layout::detect()?.filters_devices();
        // Nothing else would keep a program from a device whose node comes with an image.
        let flags = if keeps_out { MountFlags::empty() } else { MountFlags::NODEV };
        overlay(spec.layers.len().max(1), &root, &names, flags)
            .map_err(|e| explain(e, &spec.dir))?;
        Ok(Self { mounted: Some(root) })
    }

    pub(super) fn path(&self) -> &Path {
        self.mounted.as_deref().unwrap_or_else(|| Path::new("/nonexistent"))
    }

    /// Leaves it mounted for as long as the mount namespace is there; gives where.
    pub(super) fn keep(mut self) -> PathBuf {
        self.mounted.take().unwrap_or_default()
    }

    /// Unmounts it, at worst leaving the kernel to do it when the last user is gone.
    pub(super) fn unmount(mut self) -> Result<()> {
        let Some(root) = self.mounted.take() else { return Ok(()) };
        for _ in 0..UNMOUNT_TRIES {
            match rustix::mount::unmount(&root, UnmountFlags::empty()) {
                Err(Errno::BUSY) => sleep(UNMOUNT_POLL),
                done => return done.during(|| format!("unmount {}", root.display())),
            }
        }
        rustix::mount::unmount(&root, UnmountFlags::DETACH)
            .during(|| format!("unmount {}", root.display()))
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        if let Some(root) = self.mounted.take() {
            let _nobody_to_tell = rustix::mount::unmount(&root, UnmountFlags::DETACH);
        }
    }
}

/// Makes the directories, and a link with a short name for each: a page of options is too little
/// for the paths of many layers, and paths may contain the characters that separate options.
fn prepare(spec: &ContainerSpec, root: &Path, names: &Path) -> io::Result<()> {
    let (upper, work) = (spec.dir.join("upper"), spec.dir.join("work"));
    for directory in [&spec.dir, &work, root] {
        fs::create_dir_all(directory)?;
    }
    if !upper.exists() {
        make_upper(spec, &upper)?;
    }
    match fs::remove_dir_all(names) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => fs::create_dir(names)?,
    }
    symlink(&upper, names.join("u"))?;
    symlink(&work, names.join("w"))?;
    for (index, layer) in spec.layers.iter().enumerate() {
        symlink(layer, names.join(index.to_string()))?;
    }
    match spec.layers.is_empty() {
        // overlayfs wants one.
        true => fs::create_dir(names.join("0")),
        false => Ok(()),
    }
}

/// The root of the result is the writable layer's: at first it looks as the image's would, and from
/// then on as the container wants it to.
fn make_upper(spec: &ContainerSpec, upper: &Path) -> io::Result<()> {
    let draft = upper.with_extension("new");
    fs::create_dir_all(&draft)?;
    if let Some(top) = spec.layers.first() {
        let top = fs::metadata(top)?;
        std::os::unix::fs::chown(&draft, Some(top.uid()), Some(top.gid()))?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(top.mode() & 0o7777))?;
    }
    fs::rename(&draft, upper)
}

fn overlay(layers: usize, root: &Path, names: &Path, flags: MountFlags) -> Result<(), Errno> {
    let lower: Vec<_> = (0..layers).map(|index| index.to_string()).collect();
    let options = format!("lowerdir={},upperdir=u,workdir=w,index=off", lower.join(":"));
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    // The kernel resolves relative names itself, from here.
    rustix::process::chdir(names)?;
    let mounted = rustix::mount::mount("overlay", root, "overlay", flags, options.as_c_str());
    rustix::process::chdir("/")?;
    mounted
}

fn explain(errno: Errno, dir: &Path) -> Error {
    let kind = rustix::fs::statfs(dir).ok().and_then(|fs| u64::try_from(fs.f_type).ok());
    if kind == Some(OVERLAY_MAGIC) {
        return Error::Spec(format!(
            "{} is itself on overlayfs, which cannot hold a container's writable layer; \
             put the state directory on another file system",
            dir.display()
        ));
    }
    Error::Io { action: format!("mount the layers of {}", dir.display()), source: errno.into() }
}
