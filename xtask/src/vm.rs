//! `cargo xtask test --vm`: tests on Debian 12's own kernel, in a machine made of software.
//!
//! Programs for the kernel are only known to load where they have been loaded. This boots the
//! kernel that Debian gives to cloud machines in QEMU, without hardware help and without a network,
//! and runs the tests of the crates that speak to the kernel there, each in a process of its own,
//! and once the whole program. Nothing is installed: packages are unpacked below the target
//! directory, and the guest is an initial file system of files this machine has.

mod archive;
mod check;
mod debian;
mod guest;
mod image;
mod modules;
mod report;
mod request;
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::debian::Debian;
use self::guest::Guest;
use self::request::Request;
use crate::steps::{cargo, read};

pub(crate) use check::check_program;

/// Where all of it is, below the target directory.
const PLACE: &str = "vm";

/// Boots the guest, runs the tests in it, and fails when one of them does.
pub(crate) fn run_tests(args: &[String]) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "the guest is an x86-64 machine, and so must this be");
    let request = Request::parse(args)?;
    let place = target_directory()?.join(PLACE);
    fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
    let debian = Debian::unpacked(&place)?;
    let suites = tests::build(&request)?;
    let initrd = place.join("initrd.cpio");
    let size = image::write(&initrd, &debian, &suites, &request)?;
    println!("the guest: Linux {}, {} MiB of files, no network", debian.kernel(), size >> 20);
    let start = Instant::now();
    let guest =
        Guest { debian: &debian, initrd: &initrd, size, console: &place.join("console.log") };
    let report = guest.run()?;
    println!("\n{report}\nthe guest ran for {} s", start.elapsed().as_secs());
    report.verdict()
}

fn target_directory() -> Result<PathBuf> {
    let metadata = read(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("read cargo metadata")?;
    let target = metadata.get("target_directory").and_then(Value::as_str);
    Ok(PathBuf::from(target.context("cargo metadata names no target directory")?))
}

/// The path of `file` below `directory`, where it is there.
fn below(directory: &Path, file: &str) -> Option<PathBuf> {
    Some(directory.join(file)).filter(|path| path.is_file())
}
