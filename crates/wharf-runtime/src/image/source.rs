//! Where an image comes from, written as skopeo writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// `oci-archive:FILE[:ref]`: a tar of an OCI image layout.
    OciArchive {
        /// The file.
        file: PathBuf,
        /// Which of its images; all when absent.
        reference: Option<String>,
    },
    /// `docker-archive:FILE[:ref]`: the output of `docker save`.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// Which of its images; all when absent.
        reference: Option<String>,
    },
    /// `dir:ROOTFS`: a directory used as it is and never written to.
    Dir(PathBuf),
    /// A name or id of an image in the store.
    Stored(String),
}

// === impl ImageSource ===

impl FromStr for ImageSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let missing = || Error::Reference { text: text.to_owned(), reason: "a path must follow" };
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (file, reference) = split_file(rest).ok_or_else(missing)?;
            return Ok(Self::OciArchive { file, reference });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, reference) = split_file(rest).ok_or_else(missing)?;
            return Ok(Self::DockerArchive { file, reference });
        }
        match text.strip_prefix("dir:") {
            Some("") => Err(missing()),
            Some(path) => Ok(Self::Dir(path.into())),
            None if text.is_empty() => {
                Err(Error::Reference { text: String::new(), reason: "an image must be named" })
            }
            None => Ok(Self::Stored(text.to_owned())),
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, file, reference) = match self {
            Self::Stored(name) => return f.write_str(name),
            Self::Dir(path) => return write!(f, "dir:{}", path.display()),
            Self::OciArchive { file, reference } => ("oci-archive", file, reference),
            Self::DockerArchive { file, reference } => ("docker-archive", file, reference),
        };
        write!(f, "{transport}:{}", file.display())?;
        reference.as_ref().map_or(Ok(()), |reference| write!(f, ":{reference}"))
    }
}

/// The file ends at the first colon: names after it may contain more of them.
fn split_file(text: &str) -> Option<(PathBuf, Option<String>)> {
    let (file, reference) = match text.split_once(':') {
        Some((file, reference)) => (file, Some(reference.to_owned()).filter(|r| !r.is_empty())),
        None => (text, None),
    };
    (!file.is_empty()).then(|| (file.into(), reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_parses_and_prints_back() {
        let texts = [
            "oci-archive:/a/b.tar",
            "docker-archive:x.tar.gz:busybox:1",
            "dir:/srv/root",
            "busybox:1",
        ];
        for text in texts {
            assert_eq!(text.parse::<ImageSource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_source_without_a_path_is_refused() {
        for text in ["", "oci-archive:", "docker-archive::x", "dir:"] {
            assert!(text.parse::<ImageSource>().is_err(), "{text}");
        }
    }
}
