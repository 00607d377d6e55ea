//! The files of a container that does not run, as it would see them.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Result};
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
    // The kernel has looked the target up inside the root; by its descriptor it is found again.
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    rustix::mount::mount_bind_recursive(&bind.source, target.as_str()).during(what)
}
