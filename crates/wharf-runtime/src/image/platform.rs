//! Platforms: `linux/arm64/v8`, as `--platform` and image indexes name them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::image::oci::host_architecture;

/// What an image runs on; the system is always Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    architecture: String,
    variant: Option<String>,
}

// === impl Platform ===

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        Self { architecture: host_architecture().to_owned(), variant: None }
    }

    /// In Go's words, as `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Whether an image for `architecture` and `variant` is what is asked for. Without a variant
    /// asked for, any will do: an index has the one for most machines first.
    pub fn takes(&self, architecture: &str, variant: Option<&str>) -> bool {
        let (architecture, variant) = normal(architecture, variant);
        architecture == self.architecture && (self.variant.is_none() || self.variant == variant)
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `ARCHITECTURE`, `linux`, `linux/ARCHITECTURE[/VARIANT]`.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            let hint = "use linux/ARCHITECTURE[/VARIANT], as in linux/arm64";
            Error::Spec(format!("invalid platform {text:?}: {why}: {hint}"))
        };
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.';
        let parts: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
        if parts.iter().any(|part| part.is_empty() || !part.bytes().all(word)) {
            return Err(refuse("it has an empty or malformed part"));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (architecture, variant) = match parts.as_slice() {
            ["linux"] => return Ok(Self::host()),
            [system @ ("windows" | "darwin" | "freebsd" | "wasi")]
            | [system, _]
            | [system, _, _]
                if *system != "linux" =>
            {
                return Err(refuse(&format!("containers here run on linux, not {system}")));
            }
            [architecture] | [_, architecture] => (*architecture, None),
            [_, architecture, variant] => (*architecture, Some(*variant)),
            _ => return Err(refuse("it has too many parts")),
        };
        let (architecture, variant) = normal(architecture, variant);
        Ok(Self { architecture, variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// One name for each: what the kernel and other tools call an architecture is Go's word after this.
fn normal(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let variant = variant.filter(|variant| !variant.is_empty());
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("amd64", Some("v1")) => ("amd64", None),
        ("aarch64", None | Some("v8")) | ("arm64", Some("v8" | "8")) => ("arm64", None),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", None) => ("arm", Some("v7")),
        ("armel", None) => ("arm", Some("v6")),
        ("i386" | "i686" | "x86", variant) => ("386", variant),
        other => other,
    };
    (architecture.to_owned(), variant.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_docker_reads_them() {
        let cases = [
            ("linux/arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("armhf", "linux/arm/v7"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/386", "linux/386"),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), want);
        }
        assert_eq!("linux".parse::<Platform>().unwrap(), Platform::host());
        for bad in ["", "windows/amd64", "windows", "linux//x", "a/b/c/d", "linux/a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn variants_matter_where_they_are_asked_for() {
        let arm: Platform = "linux/arm/v7".parse().unwrap();
        assert!(arm.takes("arm", Some("v7")) && !arm.takes("arm", Some("v6")));
        let arm64: Platform = "linux/arm64".parse().unwrap();
        assert!(arm64.takes("arm64", Some("v8")) && arm64.takes("arm64", None));
    }
}
