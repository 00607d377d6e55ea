//! How `run` and `create` come by their image.

use wharf_api::ErrorCode;
use wharf_api::client::{ClientError, Part};

use super::pull::{Shown, fetch};
use crate::args::{PullOptions, PullWhen};
use crate::connect::Session;
use crate::failure::Exit;

/// Sources that are no names of a registry.
const OTHERS: [&str; 3] = ["oci-archive:", "docker-archive:", "dir:"];

/// When to pull, and for which platform.
#[derive(Debug)]
pub(crate) struct Source {
    when: PullWhen,
    platform: Option<String>,
    shown: Shown,
}

// === impl Source ===

impl Source {
    pub(crate) fn new(options: &PullOptions) -> Result<Self, Exit> {
        if let Some(platform) = &options.platform {
            platform
                .parse::<wharf_runtime::image::Platform>()
                .map_err(|e| Exit::at_run(e.to_string()))?;
        }
        let shown = if options.quiet { Shown::Nothing } else { Shown::for_run() };
        Ok(Self { when: options.pull, platform: options.platform.clone(), shown })
    }

    /// What has to happen before the container is asked for.
    pub(crate) async fn before(&self, session: &Session, image: &str) -> Result<(), Exit> {
        if OTHERS.iter().any(|scheme| image.starts_with(scheme)) {
            return match (self.when, &self.platform) {
                (PullWhen::Always, _) => {
                    Err(Exit::at_run(format!("{image} is not pulled: leave --pull always out")))
                }
                (_, Some(_)) => Err(Exit::at_run(format!(
                    "{image} is taken for this machine's platform: leave --platform out"
                ))),
                _ => Ok(()),
            };
        }
        if self.when == PullWhen::Always {
            return self.fetch(session, image).await;
        }
        match &self.platform {
            Some(platform) => self.of_platform(session, image, platform).await,
            None => Ok(()),
        }
    }

    /// Whether `error` means that the image is not here and may be pulled.
    pub(crate) fn can_get(&self, error: &ClientError) -> bool {
        self.when == PullWhen::Missing && is_missing(error)
    }

    /// Pulls an image that is not here.
    pub(crate) async fn get(&self, session: &Session, image: &str) -> Result<(), Exit> {
        if self.shown != Shown::Nothing {
            eprintln!("Unable to find image '{}' locally", tagged(image));
        }
        self.fetch(session, image).await
    }

    async fn fetch(&self, session: &Session, image: &str) -> Result<(), Exit> {
        let fetched = fetch(session, image, self.platform.as_deref(), self.shown).await;
        fetched.map(drop).map_err(Exit::into_run)
    }

    async fn of_platform(
        &self,
        session: &Session,
        image: &str,
        platform: &str,
    ) -> Result<(), Exit> {
        let found: Result<serde_json::Value, _> =
            session.get(&format!("/v1/images/{}", Part(image))).await;
        let text = |value: &serde_json::Value, key: &str| {
            value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        let wanted: wharf_runtime::image::Platform =
            platform.parse().map_err(|e: wharf_runtime::Error| Exit::at_run(e.to_string()))?;
        match found {
            Ok(found) => {
                let (architecture, variant) =
                    (text(&found, "Architecture"), text(&found, "Variant"));
                if wanted.takes(&architecture, Some(&variant)) {
                    return Ok(());
                }
                if self.when == PullWhen::Never {
                    return Err(Exit::at_run(format!(
                        "image with reference {image} was found but does not match the specified \
                         platform: wanted {wanted}, actual: linux/{architecture}"
                    )));
                }
                self.get(session, image).await
            }
            Err(error) if self.can_get(&error) => self.get(session, image).await,
            // Whatever else is wrong with the name, the daemon says when the container is made.
            Err(_) => Ok(()),
        }
    }
}

fn is_missing(error: &ClientError) -> bool {
    matches!(error, ClientError::Api(api)
        if api.code == ErrorCode::NotFound && api.message.starts_with("no such image: "))
}

/// The name with the tag that is meant.
fn tagged(image: &str) -> String {
    match image.parse::<wharf_runtime::image::Reference>() {
        Ok(reference) if reference.digest().is_none() => reference.tagged(),
        _ => image.to_owned(),
    }
}
