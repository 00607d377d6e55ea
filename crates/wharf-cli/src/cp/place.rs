//! What `cp` is told, and what ends up where by Docker's rules: pure.

use std::path::{Component, Path, PathBuf};

use crate::failure::Exit;

/// One end of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A path in a container.
    Container { name: &'a str, path: &'a str },
    /// A path here, or `-`.
    Here(&'a str),
}

/// Where something lands: under the name `name`, which may be `.`, in a directory that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Landing {
    pub(super) dir: PathBuf,
    pub(super) name: PathBuf,
}

// === impl Place ===

impl<'a> Place<'a> {
    /// What has a colon is in a container, unless it is plainly a path.
    pub(super) fn of(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((name, path)) if !name.is_empty() && !text.starts_with(['/', '.']) => {
                Self::Container { name, path }
            }
            _ => Self::Here(text),
        }
    }
}

// === impl Landing ===

impl Landing {
    /// Where `source` lands at `target`. `there` tells whether the target is a directory, if it
    /// exists.
    pub(super) fn of(
        source: &str,
        source_is_dir: bool,
        target: &str,
        there: Option<bool>,
        parent_is_dir: bool,
    ) -> Result<Self, Exit> {
        let contents = source_is_dir && (source.ends_with("/.") || source == ".");
        let refuse = |text: String| Err(Exit::failed(text));
        match there {
            Some(true) if contents => {
                Ok(Self { dir: PathBuf::from(target), name: PathBuf::from(".") })
            }
            Some(true) => Ok(Self { dir: PathBuf::from(target), name: name_of(source) }),
            Some(false) if source_is_dir => refuse(format!(
                "cannot copy a directory to {target}, which is a file: name a directory"
            )),
            Some(false) if target.ends_with('/') => {
                refuse(format!("{target} is not a directory: leave the last / out"))
            }
            None if !parent_is_dir => {
                refuse(format!("the directory of {target} does not exist: make it first"))
            }
            None if target.ends_with('/') && !source_is_dir => {
                refuse(format!("the directory {target} does not exist: make it first"))
            }
            _ => Ok(Self { dir: parent(target).into(), name: name_of(target) }),
        }
    }
}

/// The directory a path is in.
pub(super) fn parent(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
        None if path.starts_with('/') => "/".to_owned(),
        None => ".".to_owned(),
    }
}

/// The last part of a path; `.` where it has none of its own.
fn name_of(path: &str) -> PathBuf {
    let last = Path::new(path).components().next_back();
    match last {
        Some(Component::Normal(name)) => name.into(),
        _ => ".".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landing(
        source: (&str, bool),
        target: &str,
        there: Option<bool>,
    ) -> Option<(String, String)> {
        let landing = Landing::of(source.0, source.1, target, there, true).ok()?;
        Some((landing.dir.display().to_string(), landing.name.display().to_string()))
    }

    fn at(dir: &str, name: &str) -> Option<(String, String)> {
        Some((dir.to_owned(), name.to_owned()))
    }

    #[test]
    fn files_land_by_dockers_rules() {
        let file = ("/a/file", false);
        assert_eq!(landing(file, "/d/new", None), at("/d", "new"));
        assert_eq!(landing(file, "/d/new/", None), None);
        assert_eq!(landing(file, "/d/old", Some(false)), at("/d", "old"));
        assert_eq!(landing(file, "/d/old/", Some(false)), None);
        assert_eq!(landing(file, "/d", Some(true)), at("/d", "file"));
        assert_eq!(landing(file, "new", None), at(".", "new"));
    }

    #[test]
    fn directories_land_by_dockers_rules() {
        let dir = ("/a/dir", true);
        assert_eq!(landing(dir, "/d/new", None), at("/d", "new"));
        assert_eq!(landing(dir, "/d/new/", None), at("/d", "new"));
        assert_eq!(landing(dir, "/d", Some(true)), at("/d", "dir"));
        assert_eq!(landing(("/a/dir/.", true), "/d", Some(true)), at("/d", "."));
        assert_eq!(landing(("/", true), "/d", Some(true)), at("/d", "."));
        assert_eq!(landing(dir, "/d/file", Some(false)), None);
    }

    #[test]
    fn a_missing_directory_is_refused() {
        assert!(Landing::of("/a", false, "/gone/new", None, false).is_err());
    }

    #[test]
    fn what_is_plainly_a_path_is_one() {
        assert_eq!(Place::of("web:/x"), Place::Container { name: "web", path: "/x" });
        for text in ["/a:b", "./a:b", "../a:b", "a", "-", ":x"] {
            assert_eq!(Place::of(text), Place::Here(text));
        }
    }

    #[test]
    fn parents_are_where_something_can_be_put() {
        for (path, dir) in [("/a/b", "/a"), ("/a", "/"), ("/", "/"), ("a", "."), ("a/b/", "a")] {
            assert_eq!(parent(path), dir, "{path}");
        }
    }
}
