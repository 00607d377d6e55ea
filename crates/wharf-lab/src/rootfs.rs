//! A root file system for containers: a static busybox and what a small system has around it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where Debian's `busybox-static` puts it.
const BUSYBOX: &str = "/bin/busybox";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      alice:x:1000:1001:Alice:/home/alice:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nalice:x:1001:\naudio:x:29:alice\nnogroup:x:65534:\n";

/// Makes `name` below `directory`, a tree with every program of busybox, the users `root`,
/// `alice` (1000, group 1001, also in `audio`, 29) and `nobody`, and a file `/srv/greeting`. Prints
/// why and gives nothing where busybox is not installed.
///
/// # Errors
/// When a file cannot be made.
pub fn busybox(directory: &Path, name: &str) -> Result<Option<PathBuf>> {
    if !Path::new(BUSYBOX).exists() {
        eprintln!("skipped: {BUSYBOX} is not installed (Debian: busybox-static)");
        return Ok(None);
    }
    let root = directory.join(name);
    for place in ["bin", "etc", "home/alice", "proc", "root", "srv", "sys", "dev", "tmp", "var"] {
        let place = root.join(place);
        fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
    }
    fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777))?;
    fs::copy(BUSYBOX, root.join("bin/busybox")).context("copy busybox")?;
    for program in programs()?.lines().filter(|program| *program != "busybox") {
        symlink("busybox", root.join("bin").join(program))
            .with_context(|| format!("link {program}"))?;
    }
    for (file, content) in
        [("etc/passwd", PASSWD), ("etc/group", GROUP), ("srv/greeting", "hello from the image\n")]
    {
        fs::write(root.join(file), content).with_context(|| format!("write {file}"))?;
    }
    Ok(Some(root))
}

fn programs() -> Result<String> {
    let output = Command::new(BUSYBOX).arg("--list").output().context("ask busybox")?;
    ensure!(output.status.success(), "busybox --list: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_shell_runs() {
        let directory = tempfile::tempdir().unwrap();
        let Some(root) = busybox(directory.path(), "rootfs").unwrap() else { return };
        let said = Command::new(root.join("bin/busybox")).args(["sh", "-c", "echo hi"]).output();
        assert_eq!(said.unwrap().stdout, b"hi\n");
        assert!(root.join("bin/sh").is_symlink());
    }
}
