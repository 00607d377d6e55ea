//! `--tmpfs TARGET[:OPTIONS]`.

use super::fields::mode;
use super::{Mount, MountKind, target};
use crate::size::Bytes;
use crate::spec::SpecError;

/// Options of the mount that Docker takes for a tmpfs.
const FLAGS: [&str; 13] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "strictatime",
];

pub(super) fn parse(text: &str) -> Result<Mount, SpecError> {
    let refuse = |reason: String| SpecError::argument("tmpfs", text, reason);
    let (path, rest) = text.split_once(':').unwrap_or((text, ""));
    let options = options(rest).map_err(refuse)?;
    let read_only = options.iter().rev().find(|option| matches!(option.as_str(), "ro" | "rw"));
    Ok(Mount {
        target: target(path).map_err(refuse)?,
        read_only: read_only.is_some_and(|option| option == "ro"),
        kind: MountKind::Tmpfs { options },
    })
}

/// The options of a tmpfs, each one that the kernel takes.
pub(super) fn options(text: &str) -> Result<Vec<String>, String> {
    let given = text.split(',').filter(|option| !option.is_empty());
    given
        .map(|option| match option.split_once('=') {
            None if FLAGS.contains(&option) => Ok(option.to_owned()),
            Some(("size", value)) if value.ends_with('%') => percent(value),
            Some(("size", value)) => {
                let bytes: Bytes = value.parse().map_err(|e: SpecError| e.to_string())?;
                Ok(format!("size={}", bytes.0))
            }
            Some(("mode", value)) => Ok(format!("mode={:o}", mode(value)?)),
            Some((key @ ("uid" | "gid" | "nr_inodes" | "nr_blocks"), value)) => {
                number(key, value).map(|value| format!("{key}={value}"))
            }
            _ => Err(format!(
                "invalid tmpfs option {option:?}: use size, mode, uid, gid, nr_inodes, nr_blocks, {}",
                FLAGS.join(", ")
            )),
        })
        .collect()
}

fn percent(value: &str) -> Result<String, String> {
    match value.trim_end_matches('%').parse::<u8>() {
        Ok(part @ 1..=100) => Ok(format!("size={part}%")),
        _ => Err(format!("invalid tmpfs size {value:?}: use 1% to 100% of the memory")),
    }
}

fn number(key: &str, value: &str) -> Result<u64, String> {
    let units = matches!(key, "nr_inodes" | "nr_blocks");
    let parsed = match units {
        true => value.parse::<Bytes>().ok().map(|count| count.0),
        false => value.parse::<u32>().ok().map(u64::from),
    };
    parsed.ok_or_else(|| format!("invalid tmpfs option {key}={value}: use a number"))
}
