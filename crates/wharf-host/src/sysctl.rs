//! The kernel's settings under `/proc/sys`, by their names there (`net/ipv4/ip_forward`).
//!
//! Settings under `net` belong to the network namespace of the thread that opens the file, not
//! to the mount they are seen through, so that this works in a daemon entered with
//! `nsenter --net` and inside [`Netns::run`](crate::netns::Netns::run).

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

mod forwarding;

pub use self::forwarding::{Forwarding, restore};

const ROOT: &str = "/proc/sys";

/// One setting we changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its name, relative to `/proc/sys`.
    pub name: String,
    /// What it was before.
    pub old: String,
    /// What we set it to.
    pub new: String,
}

/// The value of `name`, without the closing line feed.
///
/// # Errors
/// [`Error::is_not_found`] when this kernel, or this namespace, has no such setting.
pub fn get(name: &str) -> Result<String> {
    let path = path_of(name)?;
    let text = fs::read_to_string(path).during(|| format!("read the setting {name}"))?;
    Ok(text.trim_end().to_owned())
}

/// Sets `name` to `value`.
///
/// # Errors
/// When there is no such setting, the value is refused, or `/proc/sys` cannot be written.
pub fn set(name: &str, value: &str) -> Result<()> {
    fs::write(path_of(name)?, value).map_err(|source| refusal(name, value, source))
}

/// Sets `name` to `value` unless it has that value; tells what changed.
pub fn change(name: &str, value: &str) -> Result<Option<Changed>> {
    let old = get(name)?;
    if old == value {
        return Ok(None);
    }
    set(name, value)?;
    Ok(Some(Changed { name: name.to_owned(), old, new: value.to_owned() }))
}

/// Whether this kernel, or this namespace, has the setting `name`.
pub fn exists(name: &str) -> bool {
    path_of(name).is_ok_and(|path| path.exists())
}

fn refusal(name: &str, value: &str, source: io::Error) -> Error {
    let remedy = match source.raw_os_error() {
        Some(libc::EROFS) => format!(
            " (/proc/sys is read-only here: run this with a writable /proc/sys, \
             or set {name}={value} from outside)"
        ),
        Some(libc::EACCES | libc::EPERM) => " (this needs root in this namespace)".to_owned(),
        _ => String::new(),
    };
    Error::kernel(format!("set {name} to {value}{remedy}"), source)
}

/// Interface names become part of a name, so nothing that leads elsewhere is let through.
fn path_of(name: &str) -> Result<PathBuf> {
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !name.is_empty() {
        return Ok(Path::new(ROOT).join(relative));
    }
    let source = io::Error::new(io::ErrorKind::InvalidInput, "not a name below /proc/sys");
    Err(Error::kernel(format!("find the setting {name:?}"), source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;

    #[test]
    fn settings_belong_to_the_namespace_of_the_thread() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let name = "net/ipv4/ip_default_ttl";
        let outside = get(name).unwrap();
        let netns = Netns::create().unwrap();
        let (first, second, inside) = netns
            .run(|| (change(name, "77").unwrap(), change(name, "77").unwrap(), get(name).unwrap()))
            .unwrap();
        assert_eq!(first.unwrap().new, "77");
        assert_eq!(second, None);
        assert_eq!(inside, "77");
        assert_eq!(get(name).unwrap(), outside);
    }

    #[test]
    fn a_missing_setting_is_named_and_recognised() {
        let error = get("net/ipv4/no_such_setting").unwrap_err();
        assert!(error.is_not_found());
        assert!(error.to_string().starts_with("read the setting net/ipv4/no_such_setting"));
        assert!(!exists("net/ipv4/no_such_setting"));
    }

    #[test]
    fn names_cannot_leave_the_tree() {
        for name in ["", "/etc/passwd", "../etc/passwd", "net/../../etc/passwd"] {
            assert!(get(name).is_err(), "{name}");
            assert!(set(name, "1").is_err(), "{name}");
        }
    }

    #[test]
    fn a_read_only_tree_comes_with_a_remedy() {
        let text = refusal("net/a", "1", io::Error::from_raw_os_error(libc::EROFS)).to_string();
        assert!(text.contains("writable /proc/sys"), "{text}");
    }
}
