//! Binds and volumes, as after `-v`.

use std::path::{Component, Path, PathBuf};

use wharf_runtime::spec::Bind;

use crate::error::{Error, Result};
use crate::paths::Paths;

/// Reads `SOURCE:PATH[:OPTIONS]` or `PATH`, and makes sure that the source exists: a missing host
/// path becomes a directory, as in Docker; a name is a volume of ours.
///
/// A volume without a name belongs to the container and goes with it.
pub(crate) fn bind(text: &str, paths: &Paths, container: &str) -> Result<Bind> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(refuse(text, "use SOURCE:PATH[:ro]")),
    };
    let read_only = read_only(text, options)?;
    let target = target_path(text, target)?;
    let (source, copy_up) = match source {
        None => (anonymous(paths, container, &target), true),
        Some(path) if path.starts_with('/') => (PathBuf::from(path), false),
        Some(name) => (named(text, paths, name)?, true),
    };
    if !source.exists() {
        std::fs::create_dir_all(&source)
            .map_err(Error::io(format!("make {} for -v {text}", source.display())))?;
    }
    Ok(Bind { source, target, read_only, copy_up })
}

fn read_only(text: &str, options: &str) -> Result<bool> {
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            _ => {
                let why = format!("option {option:?} is not available: use ro or rw");
                return Err(refuse(text, &why));
            }
        }
    }
    Ok(read_only)
}

fn target_path(text: &str, target: &str) -> Result<PathBuf> {
    let path = Path::new(target);
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain {
        return Err(refuse(text, "the path in the container must be absolute, without `..`"));
    }
    if path.starts_with("/proc") {
        return Err(refuse(text, "/proc belongs to the kernel: choose another path"));
    }
    if path == Path::new("/") {
        return Err(refuse(text, "destination can't be '/'"));
    }
    Ok(path.to_owned())
}

fn named(text: &str, paths: &Paths, name: &str) -> Result<PathBuf> {
    if name.parse::<wharf_spec::ContainerName>().is_err() {
        let why = format!(
            "{name:?} is neither an absolute path nor a volume name \
             ([a-zA-Z0-9][a-zA-Z0-9_.-]): write ./{name} for a path here"
        );
        return Err(refuse(text, &why));
    }
    Ok(paths.volumes().join(name).join("_data"))
}

fn anonymous(paths: &Paths, container: &str, target: &Path) -> PathBuf {
    let flat: String = target
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    paths.container(container).join("volumes").join(flat.trim_matches('-'))
}

fn refuse(text: &str, why: &str) -> Error {
    Error::Invalid(format!("invalid volume specification: {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("state"), dir.path().join("run"));
        (dir, paths)
    }

    #[test]
    fn the_three_kinds_of_source() {
        let (dir, paths) = paths();
        let host = dir.path().join("not-there-yet");
        let bound = bind(&format!("{}:/data:ro", host.display()), &paths, "c").unwrap();
        assert!(host.is_dir() && bound.read_only && !bound.copy_up);
        let named = bind("db:/var/lib/db", &paths, "c").unwrap();
        assert_eq!(named.source, paths.volumes().join("db/_data"));
        let anonymous = bind("/var/cache", &paths, "c").unwrap();
        assert!(anonymous.source.starts_with(paths.container("c")) && anonymous.copy_up);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let (_dir, paths) = paths();
        let bad = ["a:b", "/a:/b:z", "/a:/", "/a:/b/../c", "a/b:/c", "/a:/b:ro:x", "", ":/a"];
        for text in bad {
            assert!(bind(text, &paths, "c").is_err(), "{text}");
        }
    }
}
