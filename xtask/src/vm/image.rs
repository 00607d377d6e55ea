//! The guest's files: what is built, what it is linked with, and what its tests read and call.
//!
//! Everything has the path it has here, because tests know where they were built.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::archive::Archive;
use super::debian::Debian;
use super::guest::LIFE;
use super::modules;
use super::request::Request;
use super::tests::Suites;
use crate::steps::{find_program, root};

/// The first process.
const INIT: &str = include_str!("init.sh");
/// What runs the tests.
const RUN: &str = include_str!("run.sh");
/// What runs one of them.
const ONE: &str = include_str!("one.sh");

/// Witnesses and tools of tests, taken along where this machine has them; whoever misses one says
/// `skipped:`. Everything else is busybox.
const PROGRAMS: [&str; 11] = [
    "nft",
    "ip",
    "bpftool",
    "iptables-legacy",
    "iptables-legacy-restore",
    "ip6tables-legacy",
    "ip6tables-legacy-restore",
    "iptables-nft",
    "iptables-nft-restore",
    "ip6tables-nft",
    "ip6tables-nft-restore",
];

/// What those of iptables load.
const PLUGINS: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// The shell of busybox has an `ip` of its own and calls no other.
const SHELL: &str = "/bin/sh";

const BUSYBOX: &str = "/bin/busybox";

/// Places that programs expect.
const DIRECTORIES: [&str; 12] = [
    "/dev",
    "/etc",
    "/mnt",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/tmp",
    "/usr/sbin",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

const ETC: [(&str, &str); 5] = [
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/hostname", "guest\n"),
    ("/etc/inittab", "::once:/wharf/run\n"),
];

/// Names of numbers, which the witnesses print where they know them (Debian: netbase, iproute2).
const NAMES: [&str; 4] =
    ["/etc/protocols", "/etc/services", "/etc/iproute2/rt_tables", "/etc/iproute2/rt_protos"];

/// What lies in the repository's tree and is not its own.
const NOT_OURS: [&str; 2] = [".git", "target"];

/// Writes the initial file system; returns how many bytes it has.
///
/// # Errors
/// When something that must be in it is not here.
pub(crate) fn write(to: &Path, debian: &Debian, suites: &Suites, request: &Request) -> Result<u64> {
    let mut image = Image { archive: Archive::new(), debian };
    image.base()?;
    image.executables(suites)?;
    modules::add(&mut image.archive, debian)?;
    image.tree(root())?;
    image.archive.text("/wharf/run", RUN, 0o755);
    image.archive.text("/wharf/one", ONE, 0o755);
    image.archive.text("/wharf/binaries", binaries(suites)?, 0o644);
    image.archive.text("/wharf/environment", environment()?, 0o644);
    image.archive.text("/wharf/words", request.words.join(" ") + "\n", 0o644);
    if request.tries_program {
        image.archive.text("/wharf/check", check(suites)?, 0o755);
    }
    image.archive.write(to)
}

/// One line for each test binary: its name, its path, and where it runs.
fn binaries(suites: &Suites) -> Result<String> {
    let mut text = String::new();
    for binary in &suites.binaries {
        let (path, directory) = (plain(&binary.path)?, plain(&binary.directory)?);
        text += &format!("{} {path} {directory}\n", binary.name);
    }
    Ok(text)
}

/// What the guest's script is told; of the cases that are drawn, what cargo tells the tests here.
fn environment() -> Result<String> {
    let (root, life) = (plain(root())?, LIFE.as_secs());
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seed = seed.map(|seed| format!("PROPTEST_RNG_SEED={seed}")).unwrap_or_default();
    Ok(format!("export INSTA_UPDATE=no INSTA_WORKSPACE_ROOT={root} {seed}\nLIFE={life}\n"))
}

/// The check is a part of this program.
fn check(suites: &Suites) -> Result<String> {
    let own = std::env::current_exe().context("find this program")?;
    Ok(format!("#!/bin/sh\nexec {} vm-check {}\n", plain(&own)?, plain(&suites.wharf)?))
}

/// A path that a shell reads as one word.
fn plain(path: &Path) -> Result<&str> {
    let text = path.to_str().with_context(|| format!("{} is not text", path.display()))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    ensure!(text.chars().all(is_plain), "the guest's shell would not read {text:?} as one word");
    Ok(text)
}

#[derive(Debug)]
struct Image<'a> {
    archive: Archive,
    debian: &'a Debian,
}

// === impl Image ===

impl Image<'_> {
    fn base(&mut self) -> Result<()> {
        self.archive.text("/init", INIT, 0o755);
        for directory in DIRECTORIES {
            self.archive.directory(Path::new(directory));
        }
        for (path, content) in ETC {
            self.archive.text(path, content, 0o644);
        }
        for path in NAMES.map(Path::new).into_iter().filter(|path| path.is_file()) {
            self.archive.file(path, path)?;
        }
        self.program(&self.debian.program("kmod")?, Path::new("/usr/bin/kmod"))?;
        self.archive.symlink("/usr/sbin/modprobe", "../bin/kmod");
        self.program(Path::new(SHELL), Path::new(SHELL))?;
        for program in PROGRAMS {
            if let Some(found) = find_program(program) {
                self.program(&found, &found)?;
            }
        }
        if Path::new(PLUGINS).is_dir() {
            self.tree(Path::new(PLUGINS))?;
        }
        self.busybox()
    }

    /// Every program of busybox that is not there by itself.
    fn busybox(&mut self) -> Result<()> {
        self.archive.file(Path::new(BUSYBOX), Path::new(BUSYBOX))?;
        let listed = crate::steps::read(Command::new(BUSYBOX).arg("--list-full"))?;
        for path in listed.lines().map(|line| format!("/{line}")) {
            let there = Path::new(&path).file_name().is_some_and(|name| self.has_program(name));
            if !there {
                self.archive.symlink(&path, "/bin/busybox");
            }
        }
        Ok(())
    }

    fn has_program(&self, name: &OsStr) -> bool {
        ["/usr/bin", "/usr/sbin"].iter().any(|place| self.archive.has(&Path::new(place).join(name)))
    }

    fn executables(&mut self, suites: &Suites) -> Result<()> {
        let own = std::env::current_exe().context("find this program")?;
        let tests = suites.binaries.iter().map(|binary| &binary.path);
        for path in tests.chain(&suites.programs).chain([&suites.wharf, &own]) {
            self.program(path, path)?;
        }
        Ok(())
    }

    /// A program as `path` in the guest, with the libraries that it is linked with.
    fn program(&mut self, from: &Path, path: &Path) -> Result<()> {
        self.archive.file(path, from)?;
        for library in libraries(from, self.debian)? {
            // What was unpacked has its place below the root there.
            let inside = library.strip_prefix(self.debian.tree()).unwrap_or(&library);
            self.archive.file(&Path::new("/").join(inside), &library)?;
        }
        Ok(())
    }

    /// Snapshots, seeds and documents that tests read: all of `directory` that is the project's.
    fn tree(&mut self, directory: &Path) -> Result<()> {
        let entries =
            fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
        for entry in entries.flatten() {
            let (path, kind) = (entry.path(), entry.file_type()?);
            let is_ours = !NOT_OURS.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() && is_ours {
                self.tree(&path)?;
            } else if kind.is_file() && is_ours {
                self.archive.file(&path, &path)?;
            }
        }
        Ok(())
    }
}

/// What the loader would load with `program`; nothing when it is linked statically.
fn libraries(program: &Path, debian: &Debian) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program).env("LD_LIBRARY_PATH", debian.libraries()?).stdin(Stdio::null());
    let output = ldd.output().context("cannot start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!text.contains("not found"), "{} lacks libraries:\n{text}", program.display());
    Ok(text.lines().filter_map(library).collect())
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader by its path alone.
fn library(line: &str) -> Option<PathBuf> {
    let mut words = line.split_whitespace().filter(|word| word.starts_with('/'));
    words.next().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_taken_along() {
        let one = |line| library(line).map(|path| path.display().to_string());
        let libc = "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0000000000)";
        assert_eq!(one(libc).as_deref(), Some("/lib/x86_64-linux-gnu/libc.so.6"));
        let loader = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f0000000000)";
        assert_eq!(one(loader).as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(one("\tlinux-vdso.so.1 (0x00007ffc00000000)"), None);
        assert_eq!(one("\tstatically linked"), None);
    }

    #[test]
    fn a_path_that_a_shell_would_split_is_refused() {
        assert!(plain(Path::new("/a/b-c_1.2")).is_ok());
        assert!(plain(Path::new("/a b")).is_err());
    }
}
