//! How an image was made, and what each step added.

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::ImageStore;
use crate::image::config::{ConfigFile, Step};

/// A step of an image's history and the layer it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layered {
    /// The step.
    pub step: Step,
    /// The layer's diff id; none when it made none.
    pub layer: Option<Digest>,
    /// The bytes of the layer's files.
    pub size: u64,
}

// === impl ImageStore ===

impl ImageStore {
    /// How the image `name` was made, the last step first.
    ///
    /// # Errors
    /// There is no such image.
    pub fn history(&self, name: &str) -> Result<Vec<Layered>> {
        let image = self.resolve(name)?;
        let steps = match self.catalogue.config(&image.id) {
            Ok(text) => ConfigFile::read(text)
                .map_err(|e| Error::json(format!("the configuration of {name}"), e))?
                .history(),
            // The built-in image and directories have none.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let mut lines = matched(steps, &image.diff_ids, image.created.as_deref());
        for line in &mut lines {
            line.size = line.layer.as_ref().map_or(0, |layer| self.layers.size(layer));
        }
        lines.reverse();
        Ok(lines)
    }
}

/// Steps and layers by their order. Tools that write no history leave layers without a step.
fn matched(steps: Vec<Step>, layers: &[Digest], created: Option<&str>) -> Vec<Layered> {
    let mut layers = layers.iter().cloned();
    let mut lines: Vec<Layered> = steps
        .into_iter()
        .map(|step| {
            let layer = if step.is_empty { None } else { layers.next() };
            Layered { step, layer, size: 0 }
        })
        .collect();
    lines.extend(layers.map(|layer| {
        let step = Step { created: created.map(str::to_owned), ..Step::default() };
        Layered { step, layer: Some(layer), size: 0 }
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_go_to_the_steps_that_made_one() {
        let step =
            |by: &str, is_empty| Step { created_by: by.to_owned(), is_empty, ..Step::default() };
        let layers = [Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3")];
        let steps = vec![step("add", false), step("env", true), step("run", false)];
        let lines = matched(steps, &layers, Some("then"));
        let found: Vec<_> =
            lines.iter().map(|l| (l.step.created_by.as_str(), l.layer.clone())).collect();
        assert_eq!(found[0], ("add", Some(layers[0].clone())));
        assert_eq!(found[1], ("env", None));
        assert_eq!(found[2], ("run", Some(layers[1].clone())));
        assert_eq!(found[3], ("", Some(layers[2].clone())));
        assert_eq!(lines[3].step.created.as_deref(), Some("then"));
    }
}
