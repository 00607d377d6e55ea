//! Which images a listing shows.

use wharf_api::ImageSummary;

use crate::failure::Exit;

/// Conditions that all must hold.
#[derive(Debug, Default)]
pub(super) struct Filter {
    dangling: Option<bool>,
    references: Vec<String>,
}

// === impl Filter ===

impl Filter {
    /// Conditions as after `--filter`, and the name a listing was asked for.
    pub(super) fn new(conditions: &[String], name: Option<&str>) -> Result<Self, Exit> {
        let mut filter = Self::default();
        filter.references.extend(name.map(str::to_owned));
        for condition in conditions {
            match condition.split_once('=') {
                Some(("dangling", "true" | "1")) => filter.dangling = Some(true),
                Some(("dangling", "false" | "0")) => filter.dangling = Some(false),
                Some(("reference", pattern)) => filter.references.push(pattern.to_owned()),
                _ => {
                    return Err(Exit::failed(format!(
                        "invalid filter {condition:?}: use dangling=true, dangling=false or \
                         reference=PATTERN"
                    )));
                }
            }
        }
        Ok(filter)
    }

    /// The images that pass, with the names that do.
    pub(super) fn apply(&self, images: Vec<ImageSummary>) -> Vec<ImageSummary> {
        let passes = |image: &ImageSummary| {
            self.dangling.is_none_or(|dangling| dangling == image.names.is_empty())
        };
        let images = images.into_iter().filter(passes);
        if self.references.is_empty() {
            return images.collect();
        }
        let named = images.map(|mut image| {
            image.names.retain(|name| self.references.iter().all(|it| is_meant(name, it)));
            image
        });
        named.filter(|image| !image.names.is_empty()).collect()
    }
}

/// Whether `pattern`, with or without a tag, means `name`.
fn is_meant(name: &str, pattern: &str) -> bool {
    let pattern = pattern.strip_prefix("docker.io/").unwrap_or(pattern);
    let pattern = pattern.strip_prefix("library/").unwrap_or(pattern);
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    matches(pattern.as_bytes(), name.as_bytes())
        || matches(pattern.as_bytes(), repository.as_bytes())
}

/// `*` is any run without a slash, `?` one character that is none.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if matches(rest, text) => true,
        (Some((b'*', _)), Some((byte, text))) => *byte != b'/' && matches(pattern, text),
        (Some((b'?', rest)), Some((byte, text))) => *byte != b'/' && matches(rest, text),
        (Some((wanted, rest)), Some((byte, text))) => wanted == byte && matches(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_names_with_or_without_tag() {
        let name = "registry.example:5000/team/tool:1";
        for pattern in [name, "registry.example:5000/team/tool", "*/team/*", "*/team/tool:?"] {
            assert!(is_meant(name, pattern), "{pattern}");
        }
        for pattern in ["tool", "*", "registry.example:5000/team/tool:2", ""] {
            assert!(!is_meant(name, pattern), "{pattern}");
        }
        assert!(is_meant("nginx:1", "docker.io/library/nginx"));
    }

    #[test]
    fn unknown_conditions_are_refused() {
        assert!(Filter::new(&["before=x".to_owned()], None).is_err());
        assert!(Filter::new(&["dangling".to_owned()], None).is_err());
    }
}
