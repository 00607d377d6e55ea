//! `wharf/whoami`, made of the running program and the libraries it has loaded.
//!
//! It is made once per version of the program; after that, finding it costs a few `stat`s.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::image::catalogue::Record;
use crate::image::config::ImageConfig;
use crate::image::store::ImageStore;
use crate::image::unpack::Unpacked;
use crate::image::{Reference, elf, oci};

const REPOSITORY: &str = "wharf/whoami";
const NAME: &str = "wharf/whoami:latest";
/// Changes when the layout below does, so that images of older versions are not used.
const LAYOUT: u32 = 1;
const PROGRAM: &str = "wharf";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PASSWD: &str =
    "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";
/// Anyone may read and execute it.
const PUBLIC: u32 = 0o755;

pub(super) fn is_builtin(name: &str) -> bool {
    let reference = name.parse::<Reference>().ok();
    reference.is_some_and(|r| {
        r.repository() == REPOSITORY && r.tag() == "latest" && r.digest().is_none()
    })
}

/// Whether `reference` is a name of ours, which no registry has a say in.
pub(super) fn owns(reference: &Reference) -> bool {
    reference.repository() == REPOSITORY
}

/// The id of the image for `program` as it is now, making it if needed.
pub(super) fn ensure(store: &ImageStore, program: &Path) -> Result<Digest> {
    let what = || format!("make {NAME} of {}", program.display());
    let files = Files::of(program).during(what)?;
    let layer = files.key().during(what)?;
    let id = Digest::of(format!("{NAME} {layer}").as_bytes());
    let named = store.catalogue.names()?.get(NAME) == Some(&id);
    if named && store.layers.has(&layer) {
        return Ok(id);
    }
    let fill = || match store.layers.has(&layer) {
        true => Ok(()),
        false => store.layers.fill(&layer, |root| files.copy(root).during(what)),
    };
    let locked = store.lock_with_layers(std::slice::from_ref(&layer), fill)?;
    let record = Record {
        id: id.clone(),
        config: config(),
        size: store.layers.size(&layer),
        layers: vec![layer],
        created: Some(jiff::Timestamp::now().to_string()),
        architecture: oci::host_architecture().to_owned(),
        manifest: None,
        variant: None,
        repo_digests: Vec::new(),
    };
    store.commit(&locked, &record, &[NAME.to_owned()])?;
    Ok(id)
}

fn config() -> ImageConfig {
    ImageConfig {
        env: vec![PATH.to_owned()],
        entrypoint: vec![format!("/{PROGRAM}"), "whoami".to_owned()],
        exposed: vec!["80/tcp".to_owned(), "80/udp".to_owned()],
        workdir: "/".to_owned(),
        ..ImageConfig::default()
    }
}

/// What goes into the image.
#[derive(Debug)]
struct Files {
    program: PathBuf,
    /// Loader and libraries; none when the program is static.
    libraries: BTreeSet<PathBuf>,
}

// === impl Files ===

impl Files {
    fn of(program: &Path) -> io::Result<Self> {
        let mut libraries = BTreeSet::new();
        if let Some(loader) = elf::interpreter(program)? {
            libraries = mapped_libraries()?;
            libraries.insert(loader);
        }
        Ok(Self { program: program.to_owned(), libraries })
    }

    /// A digest that changes when any of the files does.
    fn key(&self) -> io::Result<Digest> {
        let mut text = format!("layout {LAYOUT}\n");
        for path in std::iter::once(&self.program).chain(&self.libraries) {
            let m = fs::metadata(path)?;
            let _infallible = writeln!(
                text,
                "{} {} {} {}.{:09} {:o}",
                m.dev(),
                m.ino(),
                m.len(),
                m.mtime(),
                m.mtime_nsec(),
                m.mode()
            );
        }
        Ok(Digest::of(text.as_bytes()))
    }

    fn copy(&self, root: &Path) -> io::Result<Unpacked> {
        fs::create_dir(root.join("etc"))?;
        fs::write(root.join("etc/passwd"), PASSWD)?;
        fs::write(root.join("etc/group"), GROUP)?;
        fs::create_dir(root.join("tmp"))?;
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777))?;
        let mut unpacked = Unpacked { bytes: 0, entries: 1 };
        unpacked.bytes += place_program(&self.program, &root.join(PROGRAM))?;
        for library in &self.libraries {
            unpacked.bytes += place_library(library, root)?;
            unpacked.entries += 1;
        }
        Ok(unpacked)
    }
}

/// Links the program if it can be, for it is large; copies it otherwise.
fn place_program(program: &Path, target: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(program)?;
    let follow = AtFlags::SYMLINK_FOLLOW;
    let public = metadata.mode() & 0o555 == 0o555;
    if !public || rustix::fs::linkat(CWD, program, CWD, target, follow).is_err() {
        fs::copy(program, target)?;
        fs::set_permissions(target, Permissions::from_mode(PUBLIC))?;
    }
    Ok(metadata.len())
}

fn place_library(library: &Path, root: &Path) -> io::Result<u64> {
    let target = root.join(library.strip_prefix("/").unwrap_or(library));
    if let Some(directory) = target.parent() {
        fs::create_dir_all(directory)?;
    }
    let bytes = fs::copy(library, &target)?;
    fs::set_permissions(&target, Permissions::from_mode(PUBLIC))?;
    link_names(library, &target)?;
    Ok(bytes)
}

/// A program asks for `libc.so.6`, which may be a link to the `libc-2.31.so` that is mapped.
fn link_names(library: &Path, target: &Path) -> io::Result<()> {
    let (Some(from), Some(to)) = (library.parent(), target.parent()) else { return Ok(()) };
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let leads = || fs::read_link(entry.path()).ok();
        let link = to.join(entry.file_name());
        if entry.file_type()?.is_symlink()
            && leads().is_some_and(|to| Some(to.as_os_str()) == library.file_name())
            && link.symlink_metadata().is_err()
        {
            symlink(library.file_name().unwrap_or_default(), link)?;
        }
    }
    Ok(())
}

/// The shared objects this process executes code of.
fn mapped_libraries() -> io::Result<BTreeSet<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    Ok(maps.lines().filter_map(mapped_library).collect())
}

/// `ADDRESSES PERMISSIONS OFFSET DEVICE INODE PATH`; replaced files are marked `(deleted)`, and
/// what has taken their place is what the loader would find, too.
fn mapped_library(line: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(6, ' ');
    let permissions = fields.nth(1)?;
    let path = fields.nth(3)?.trim_start().trim_end_matches(" (deleted)");
    let library = permissions.contains('x') && path.starts_with('/') && path.contains(".so");
    library.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_libraries_are_those_with_code() {
        let line = "7f00-7f01 r-xp 00028000 fe:00 1234                       /usr/lib/x/libc.so.6";
        assert_eq!(mapped_library(line), Some("/usr/lib/x/libc.so.6".into()));
        let deleted =
            "7f00-7f01 r-xp 00028000 fe:00 1234                   /lib/libc.so.6 (deleted)";
        assert_eq!(mapped_library(deleted), Some("/lib/libc.so.6".into()));
        assert_eq!(mapped_library("7f00-7f01 r--p 0 fe:00 1234 /usr/lib/x/libc.so.6"), None);
        assert_eq!(mapped_library("7f00-7f01 rw-p 00000000 00:00 0 "), None);
        assert_eq!(mapped_library("7f00-7f01 r-xp 0 00:00 0                  [vdso]"), None);
    }

    #[test]
    fn only_the_latest_tag_is_built_in() {
        assert!(is_builtin("wharf/whoami") && is_builtin("wharf/whoami:latest"));
        assert!(!is_builtin("wharf/whoami:1") && !is_builtin("whoami") && !is_builtin("wharf/"));
    }
}
