//! The modules of the guest's kernel: what networks are made of, and the list that names them.
//!
//! Nothing is loaded by hand: as on every machine, the kernel asks `modprobe` for what is missing
//! when somebody wants it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::Archive;
use super::debian::Debian;
use crate::steps::run;

/// The parts of Debian's kernel that Wharf and its tests are in touch with. The drivers of network
/// cards are not: the guest has none.
const PARTS: [&str; 6] = [
    "kernel/net",
    "kernel/lib",
    "kernel/crypto",
    "kernel/arch",
    "kernel/fs/overlayfs",
    "kernel/fs/fuse",
];

/// Drivers of links without hardware.
const DRIVERS: &str = "kernel/drivers/net";

/// Puts the modules into the archive.
///
/// # Errors
/// When the kernel's package does not hold what it should.
pub(crate) fn add(archive: &mut Archive, debian: &Debian) -> Result<()> {
    let modules = debian.modules();
    // The package leaves this to its installation.
    let mut depmod = debian.command("kmod")?;
    depmod_name(&mut depmod);
    run(depmod.arg("--basedir").arg(debian.tree()).arg(debian.kernel()))?;
    let home = Path::new("/usr/lib/modules").join(debian.kernel());
    let mut files = listed(&modules)?;
    files.extend(listed(&modules.join(DRIVERS))?);
    for part in PARTS {
        walk(&modules.join(part), &mut files)?;
    }
    for file in files {
        let name = file.strip_prefix(&modules).context("a module outside its directory")?;
        archive.file(&home.join(name), &file)?;
    }
    Ok(())
}

/// One program has many names, and does what its name says.
fn depmod_name(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    command.arg0("depmod");
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
