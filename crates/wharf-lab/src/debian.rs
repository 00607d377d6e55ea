//! A root file system with real programs of Debian's in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// It fetches packages and unpacks them without running a line of theirs, so that no service starts.
const PROGRAM: &str = "mmdebstrap";
const PACKAGES: &str = "base-files,base-passwd,dash,coreutils,sed,grep,libc-bin,\
                        nginx-light,redis-server,postgresql,python3";
const SUITE: &str = "bookworm";
/// Users that the packages would make when they are installed, besides base-passwd's own.
const PASSWD: &str = "redis:x:101:101::/var/lib/redis:/usr/sbin/nologin\n\
                      postgres:x:102:102:PostgreSQL:/var/lib/postgresql:/bin/sh\n";
const GROUP: &str = "redis:x:101:\npostgres:x:102:\nextra:x:103:postgres\n";

/// Makes the tree below `cache` unless an earlier test has; gives nothing, with a word why, where
/// `mmdebstrap` is not installed.
///
/// # Errors
/// When Debian's archive cannot be reached, or a file cannot be made.
pub fn debian(cache: &Path) -> Result<Option<PathBuf>> {
    if !Path::new("/usr/bin").join(PROGRAM).exists() {
        eprintln!("skipped: {PROGRAM} is not installed (Debian: {PROGRAM})");
        return Ok(None);
    }
    fs::create_dir_all(cache).with_context(|| format!("make {}", cache.display()))?;
    let lock = File::create(cache.join("debian.lock")).context("make a lock")?;
    lock.lock().context("wait for another test that makes it")?;
    let (root, fresh) = (cache.join("debian"), cache.join("debian.new"));
    if root.exists() {
        return Ok(Some(root));
    }
    match fs::remove_dir_all(&fresh) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context("start anew"),
        _ => {}
    }
    fetch(&fresh)?;
    complete(&fresh)?;
    fs::rename(&fresh, &root).context("finish the tree")?;
    Ok(Some(root))
}

fn fetch(root: &Path) -> Result<()> {
    let output = Command::new(PROGRAM)
        .args(["--variant=extract", "--quiet", &format!("--include={PACKAGES}"), SUITE])
        .arg(root)
        .stdin(Stdio::null())
        .output()
        .context("start mmdebstrap")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mmdebstrap: {}: {said}", output.status);
    Ok(())
}

/// What packages do when they are installed, as far as the programs need it.
fn complete(root: &Path) -> Result<()> {
    for (name, more) in [("passwd", PASSWD), ("group", GROUP)] {
        let master = root.join("usr/share/base-passwd").join(format!("{name}.master"));
        let text =
            fs::read_to_string(&master).with_context(|| format!("read {}", master.display()))?;
        fs::write(root.join("etc").join(name), text + more)
            .with_context(|| format!("write {name}"))?;
    }
    let shell = root.join("bin/sh");
    if !shell.exists() {
        std::os::unix::fs::symlink("dash", &shell).context("link sh")?;
    }
    Ok(())
}
