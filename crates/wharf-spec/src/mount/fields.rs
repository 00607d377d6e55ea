//! `--mount`: comma-separated fields, quoted as in CSV where a value holds a comma.

use std::collections::BTreeMap;

use super::{Mount, MountKind, propagation, target, volume_name};
use crate::size::Bytes;
use crate::spec::SpecError;

/// More fields than there are keys make no sense; labels may be many.
const FIELDS_LIMIT: usize = 256;

/// What was said, before it is known of what type the mount is.
#[derive(Debug, Default)]
struct Said {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    recursive: Option<Recursive>,
    propagation: bool,
    no_copy: Option<bool>,
    labels: BTreeMap<String, String>,
    size: Option<u64>,
    mode: Option<u32>,
    options: Option<String>,
}

/// How far a bind reaches down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recursive {
    Enabled,
    Disabled,
    Writable,
    Readonly,
}

pub(super) fn parse(text: &str) -> Result<Mount, SpecError> {
    let refuse = |reason: String| SpecError::argument("mount", text, reason);
    let mut said = Said::default();
    for field in split(text).map_err(refuse)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        said.take(&key, value).map_err(refuse)?;
    }
    said.mount().map_err(refuse)
}

/// The fields of one line of CSV.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let at_start = fields.last().is_some_and(String::is_empty);
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                fields.last_mut().into_iter().for_each(|field| field.push('"'));
            }
            '"' if quoted => {
                quoted = false;
                if letters.peek().is_some_and(|next| *next != ',') {
                    return Err("a comma must follow a closing quote".into());
                }
            }
            '"' if at_start => quoted = true,
            '"' => return Err("a quote must stand around the whole field".into()),
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().into_iter().for_each(|field| field.push(other)),
        }
        if fields.len() > FIELDS_LIMIT {
            return Err(format!("more than {FIELDS_LIMIT} fields"));
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    Ok(fields)
}

// === impl Said ===

impl Said {
    fn take(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        if matches!(key, "readonly" | "ro") {
            self.read_only = flag(key, value)?;
            return Ok(());
        }
        match key {
            "volume-nocopy" => {
                self.no_copy = Some(flag(key, value)?);
                return Ok(());
            }
            "bind-nonrecursive" => {
                let off = flag(key, value)?;
                self.recursive = Some(if off { Recursive::Disabled } else { Recursive::Enabled });
                return Ok(());
            }
            _ => {}
        }
        let value =
            value.ok_or_else(|| format!("invalid field '{key}' must be a key=value pair"))?;
        self.take_value(key, value)
    }

    fn take_value(&mut self, key: &str, value: &str) -> Result<(), String> {
        let text = || Some(value.to_owned());
        match key {
            "type" => self.kind = Some(value.to_ascii_lowercase()),
            "source" | "src" => self.source = text(),
            "target" | "dst" | "destination" => self.target = Some(target(value)?),
            "bind-propagation" => {
                propagation(value)?;
                self.propagation = true;
            }
            "bind-recursive" => self.recursive = Some(recursive(value)?),
            "volume-driver" if matches!(value, "" | "local") => {}
            "volume-driver" => {
                return Err(format!(
                    "volume driver {value:?} is not available: volumes are directories here; leave it out"
                ));
            }
            "volume-label" => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                self.labels.insert(key.to_owned(), value.to_owned());
            }
            "volume-opt" | "volume-subpath" | "image-subpath" | "consistency" => {
                return Err(format!("{key} is not available: leave it out"));
            }
            "tmpfs-size" => {
                self.size = Some(value.parse::<Bytes>().map_err(|e| e.to_string())?.0);
            }
            "tmpfs-mode" => self.mode = Some(mode(value)?),
            "tmpfs-options" => self.options = text(),
            _ => {
                return Err(format!(
                    "unexpected key '{key}': use type, source, target, readonly, bind-propagation, bind-recursive, volume-nocopy, volume-label, tmpfs-size or tmpfs-mode"
                ));
            }
        }
        Ok(())
    }

    fn mount(self) -> Result<Mount, String> {
        let kind = self.kind.clone().unwrap_or_else(|| "volume".into());
        self.check_keys(&kind)?;
        let target = self.target.clone().ok_or("target is required")?;
        let read_only = self.read_only;
        let kind = match kind.as_str() {
            "bind" => self.bind()?,
            "volume" => {
                let name = self.source.as_deref().filter(|name| !name.is_empty());
                let name = name.map(volume_name).transpose()?;
                MountKind::Volume {
                    name,
                    copy: !self.no_copy.unwrap_or(false),
                    labels: self.labels,
                }
            }
            "tmpfs" => self.tmpfs()?,
            "image" | "npipe" | "cluster" => {
                return Err(format!(
                    "mounts of type {kind:?} are not available: use bind, volume or tmpfs"
                ));
            }
            _ => return Err(format!("unknown mount type {kind:?}: use bind, volume or tmpfs")),
        };
        Ok(Mount { target, read_only, kind })
    }

    fn check_keys(&self, kind: &str) -> Result<(), String> {
        let of = |what: &str, given: bool| match given && what != kind {
            true => Err(format!("cannot mix '{what}-*' options with mount type '{kind}'")),
            false => Ok(()),
        };
        of("bind", self.propagation || self.recursive.is_some())?;
        of("volume", self.no_copy.is_some() || !self.labels.is_empty())?;
        of("tmpfs", self.size.is_some() || self.mode.is_some() || self.options.is_some())
    }

    fn bind(self) -> Result<MountKind, String> {
        let source = self.source.filter(|source| !source.is_empty());
        let source = source.ok_or("source is required for a mount of type bind")?;
        let reach = self.recursive.unwrap_or(Recursive::Enabled);
        if reach == Recursive::Readonly && !self.read_only {
            return Err("bind-recursive=readonly needs readonly as well".into());
        }
        Ok(MountKind::Bind {
            source,
            create: false,
            recursive: reach != Recursive::Disabled,
            deep: matches!(reach, Recursive::Enabled | Recursive::Readonly),
        })
    }

    fn tmpfs(self) -> Result<MountKind, String> {
        if self.source.is_some() {
            return Err("a mount of type tmpfs has no source: leave it out".into());
        }
        let mut options = Vec::new();
        if let Some(given) = &self.options {
            options = super::tmpfs::options(given)?;
        }
        options.extend(self.size.map(|size| format!("size={size}")));
        options.extend(self.mode.map(|mode| format!("mode={mode:o}")));
        Ok(MountKind::Tmpfs { options })
    }
}

fn flag(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}: use true or false")),
    }
}

fn recursive(value: &str) -> Result<Recursive, String> {
    match value {
        "enabled" => Ok(Recursive::Enabled),
        "disabled" => Ok(Recursive::Disabled),
        "writable" => Ok(Recursive::Writable),
        "readonly" => Ok(Recursive::Readonly),
        _ => Err(format!(
            "invalid value for bind-recursive: {value}: use enabled, disabled, writable or readonly"
        )),
    }
}

pub(super) fn mode(value: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("invalid value for mode: {value}: use octal digits, as in 1777"))
}
