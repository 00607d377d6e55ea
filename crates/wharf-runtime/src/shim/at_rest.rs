//! The files of a container that does not run, as it would see them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcontainer::syscall::linux::{AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, MountAttr};
use libcontainer::syscall::syscall::create_syscall;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{self, MountFlags, mount_remount};

use crate::error::{Context, Error, Result};
use crate::inroot::Root;
use crate::shim::rootfs::Rootfs;
use crate::shim::volume;
use crate::spec::{Bind, ContainerSpec};

const DIRECTORY_MODE: u32 = 0o755;

/// Mounts the root of `spec` and what is bound into it, in the mount namespace of this process, with
/// which it goes; gives where. `dir` is the process' own.
pub(crate) fn mount_at_rest(spec: &ContainerSpec, dir: &Path) -> Result<PathBuf> {
    let root = Rootfs::mount(spec, dir)?.keep();
    let inside = Root::open(&root).during(|| format!("open {}", root.display()))?;
    volume::fill_all(&inside, spec)?;
    let mut binds: Vec<&Bind> = spec.binds.iter().collect();
    binds.sort_by_key(|bind| bind.target.components().count());
    for bind in binds {
        mount_bind(&inside, bind)?;
    }
    if spec.storage.read_only {
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        mount_remount(&root, flags, "").during(|| format!("protect {}", root.display()))?;
    }
    Ok(root)
}

/// A bind whose source is gone is left out: what can be seen is better than nothing.
fn mount_bind(root: &Root, bind: &Bind) -> Result<()> {
    let what = || format!("mount {}", bind.target.display());
    let target = match std::fs::metadata(&bind.source) {
        Ok(source) if source.is_dir() => {
            root.make_dirs(&bind.target, Mode::from_raw_mode(DIRECTORY_MODE)).during(what)?
        }
        Ok(_) => match root.find(&bind.target, OFlags::PATH) {
            Ok(target) => target,
            Err(_) => return Ok(()),
        },
        Err(_) => return Ok(()),
    };
    match bind.shallow {
        true => mount::mount_bind(&bind.source, by_descriptor(&target).as_str()),
        false => mount::mount_bind_recursive(&bind.source, by_descriptor(&target).as_str()),
    }
    .during(what)?;
    if bind.read_only { protect(root, bind) } else { Ok(()) }
}

/// Makes what was mounted for `bind` read-only as it is in the running container.
fn protect(root: &Root, bind: &Bind) -> Result<()> {
    let what = || format!("make {} read-only", bind.target.display());
    // Looked up anew: the descriptor from before is below the mount.
    let mounted = root.find(&bind.target, OFlags::PATH).during(what)?;
    if bind.shallow || bind.writable_below {
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        return mount_remount(by_descriptor(&mounted).as_str(), flags, "").during(what);
    }
    let attributes =
        MountAttr { attr_set: MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let (flags, size) = (AT_RECURSIVE | AT_EMPTY_PATH, size_of::<MountAttr>());
    let set =
        create_syscall().mount_setattr(mounted.as_fd(), Path::new(""), flags, &attributes, size);
    set.map_err(|e| Error::Shim { action: what(), reason: e.to_string() })
}

/// The kernel has looked it up inside the root; by its descriptor it is found again.
fn by_descriptor(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
