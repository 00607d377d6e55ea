//! Debian's kernel and QEMU, unpacked and not installed.
//!
//! What is once unpacked is used again, without a network, until the target directory is cleaned.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::below;
use crate::prerequisites;
use crate::steps::{find_program, read, run};

/// Depends on the kernel that Debian gives to cloud machines, whatever its number is today.
const KERNEL: &str = "linux-image-cloud-amd64";

/// What is fetched besides, where this machine does not have it.
const NEEDS: [Need; 2] = [
    Need { package: "qemu-system-x86", program: "qemu-system-x86_64", reason: "is the machine" },
    Need { package: "kmod", program: "kmod", reason: "loads the kernel's modules in it" },
];

#[derive(Debug)]
struct Need {
    package: &'static str,
    program: &'static str,
    reason: &'static str,
}

/// A tree of unpacked packages, with one kernel in it.
#[derive(Debug)]
pub(crate) struct Debian {
    tree: PathBuf,
    kernel: String,
}

// === impl Debian ===

impl Debian {
    /// What lies below `place`; it is fetched first unless it is there.
    ///
    /// # Errors
    /// When it is not there and cannot be fetched.
    pub(crate) fn unpacked(place: &Path) -> Result<Self> {
        let tree = place.join("debian");
        if let Some(found) = Self::find(&tree) {
            return Ok(found);
        }
        let missing: Vec<&Need> = NEEDS.iter().filter(|need| !need.is_there()).collect();
        println!("the guest needs packages of Debian's; they are unpacked below the target");
        println!("directory ({}) and not installed:", tree.display());
        println!("  {KERNEL}: is the kernel that is tested on");
        for Need { package, program, reason } in &missing {
            println!("  {package}: `{program}` {reason}");
        }
        let fetch = || fetch(place, &missing);
        // Lists that are there may be too old for the archive; then one fresh look decides.
        let packages = fetch().or_else(|_| prerequisites::refresh().and_then(|()| fetch()))?;
        let fresh = place.join("debian.new");
        unpack(&packages, &fresh)?;
        fs::rename(&fresh, &tree).context("put the unpacked packages in place")?;
        Self::find(&tree).context("the unpacked packages hold no kernel")
    }

    fn find(tree: &Path) -> Option<Self> {
        let mut kernels = fs::read_dir(tree.join("boot")).ok()?.flatten();
        let kernel = kernels.find_map(|entry| {
            Some(entry.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned())
        })?;
        Some(Self { tree: tree.to_owned(), kernel })
    }

    /// The kernel's release.
    pub(crate) fn kernel(&self) -> &str {
        &self.kernel
    }

    /// The kernel itself.
    pub(crate) fn vmlinuz(&self) -> PathBuf {
        self.tree.join("boot").join(format!("vmlinuz-{}", self.kernel))
    }

    /// The kernel's modules, and what names them.
    pub(crate) fn modules(&self) -> PathBuf {
        self.tree.join("lib/modules").join(&self.kernel)
    }

    /// The root of all that is unpacked.
    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Where `program` is: unpacked, or on this machine.
    ///
    /// # Errors
    /// When it is in neither.
    pub(crate) fn program(&self, program: &str) -> Result<PathBuf> {
        ["usr/bin", "usr/sbin", "bin", "sbin"]
            .iter()
            .find_map(|place| below(&self.tree.join(place), program))
            .or_else(|| find_program(program))
            .with_context(|| format!("no {program}, neither unpacked nor installed"))
    }

    /// The command `program`, which finds the libraries that came with it.
    ///
    /// # Errors
    /// As [`Debian::program`].
    pub(crate) fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.program(program)?);
        command.env("LD_LIBRARY_PATH", self.libraries()?);
        Ok(command)
    }

    /// The directories of the unpacked libraries.
    ///
    /// # Errors
    /// When their names cannot be put into a list.
    pub(crate) fn libraries(&self) -> Result<OsString> {
        let places = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
        Ok(std::env::join_paths(places.map(|place| self.tree.join(place)))?)
    }
}

// === impl Need ===

impl Need {
    fn is_there(&self) -> bool {
        find_program(self.program).is_some()
    }
}

/// Downloads the kernel, what is missing, and what that depends on and this machine lacks.
fn fetch(place: &Path, missing: &[&Need]) -> Result<PathBuf> {
    ensure!(
        find_program("apt-get").is_some() && find_program("dpkg-deb").is_some(),
        "this machine has no apt-get; the guest is made of Debian's packages"
    );
    let packages = place.join("packages");
    recreate(&packages)?;
    let mut line = vec![kernel_package()?];
    if !missing.is_empty() {
        line.extend(closure(missing)?);
    }
    run(Command::new("apt-get").args(["--quiet", "download"]).args(line).current_dir(&packages))?;
    Ok(packages)
}

/// `linux-image-6.1.0-57-cloud-amd64`, or what its number is today.
fn kernel_package() -> Result<String> {
    let told = read(Command::new("apt-cache").args(["depends", "--important", KERNEL]))?;
    let mut words = told.split_whitespace();
    let package = words.find(|word| word.starts_with("linux-image-") && *word != KERNEL);
    Ok(package.with_context(|| format!("apt-cache does not know what {KERNEL} is"))?.to_owned())
}

/// What apt would install for `missing`, by its own word; it is only asked.
fn closure(missing: &[&Need]) -> Result<Vec<String>> {
    let ask = ["--simulate", "--no-install-recommends", "install"];
    let wanted = missing.iter().map(|need| need.package);
    let told = read(Command::new("apt-get").args(ask).args(wanted).env("LC_ALL", "C"))?;
    let names = told.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    Ok(names.map(str::to_owned).collect())
}

fn unpack(packages: &Path, tree: &Path) -> Result<()> {
    recreate(tree)?;
    for entry in fs::read_dir(packages).context("list the downloaded packages")? {
        let package = entry.context("list the downloaded packages")?.path();
        run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(tree))?;
    }
    fs::remove_dir_all(packages).context("remove the downloaded packages")
}

fn recreate(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("clear {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))
}
