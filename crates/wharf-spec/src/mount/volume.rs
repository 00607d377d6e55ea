//! `--volume [SOURCE:]TARGET[:OPTIONS]`.

use std::collections::BTreeMap;

use super::{Mount, MountKind, propagation, target, volume_name};
use crate::spec::SpecError;

/// What stands after the second colon.
#[derive(Debug, Default)]
struct Options {
    read_only: bool,
    no_copy: bool,
    of_bind: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<Mount, SpecError> {
    let refuse = |reason: String| SpecError::argument("volume specification", text, reason);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, path, rest) = match parts.as_slice() {
        [path] => (None, *path, ""),
        [source, path] => (Some(*source), *path, ""),
        [source, path, rest] => (Some(*source), *path, *rest),
        _ => return Err(refuse("use [SOURCE:]TARGET[:OPTIONS]".into())),
    };
    let options = Options::parse(rest).map_err(refuse)?;
    let target = target(path).map_err(refuse)?;
    let kind = kind(source, &options).map_err(refuse)?;
    Ok(Mount { target, read_only: options.read_only, kind })
}

fn kind(source: Option<&str>, options: &Options) -> Result<MountKind, String> {
    match source {
        Some(path) if path.starts_with('/') || path.starts_with('.') => {
            if options.no_copy {
                return Err(
                    "nocopy is an option of volumes: leave it out for a path of the host".into()
                );
            }
            Ok(MountKind::Bind {
                source: path.to_owned(),
                create: true,
                recursive: true,
                deep: true,
            })
        }
        name => {
            if let Some(option) = &options.of_bind {
                return Err(format!("{option} is an option of binds: leave it out for a volume"));
            }
            let name = name.map(volume_name).transpose()?;
            Ok(MountKind::Volume { name, copy: !options.no_copy, labels: BTreeMap::new() })
        }
    }
}

// === impl Options ===

impl Options {
    fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => options.read_only = true,
                "rw" => options.read_only = false,
                "nocopy" => options.no_copy = true,
                "z" | "Z" => {
                    return Err(format!(
                        "option {option:?} is not available: SELinux labels are not set; leave it out"
                    ));
                }
                "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                    propagation(option)?;
                    options.of_bind = Some(option.to_owned());
                }
                _ => {
                    return Err(format!(
                        "option {option:?} is not available: use ro, rw, nocopy or rprivate"
                    ));
                }
            }
        }
        Ok(options)
    }
}
