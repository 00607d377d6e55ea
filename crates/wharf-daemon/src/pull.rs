//! Pulling images, and trying credentials, for whoever asks over the API.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wharf_api::{ApiError, LayerState, LoginRequest, PullEvent, PullRequest, RegistryCredential};
use wharf_runtime::Digest;
use wharf_runtime::image::registry::{Credential, Registry};
use wharf_runtime::image::{self, Progress, Pull, Reference};

use crate::daemon::Daemon;
use crate::error::{Error, Result};

/// What a client has not read yet; a slower one slows nothing but its own view.
const EVENTS: usize = 256;
/// Eyes see no more.
const STEP: Duration = Duration::from_millis(100);

/// Tells a client how a pull goes, no more often than it can be seen.
struct Teller {
    events: mpsc::Sender<PullEvent>,
    last: Mutex<std::collections::HashMap<Digest, Instant>>,
}

// === impl Daemon ===

impl Daemon {
    /// Pulls an image; the receiver gets what happens and, last, what it came to. Dropping it ends
    /// the pull.
    pub(crate) fn pull(
        self: &Arc<Self>,
        request: PullRequest,
    ) -> Result<mpsc::Receiver<PullEvent>> {
        let pull = self.pull_of(request)?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let (daemon, mut closing) = (Arc::clone(self), self.closing.subscribe());
        tokio::spawn(async move {
            let gone = events.clone();
            let last = tokio::select! {
                last = daemon.pull_told(pull, events.clone()) => last,
                // Nobody is there to be told.
                () = gone.closed() => return,
                _ = closing.wait_for(|closing| *closing) => {
                    let text = "the daemon ends; pull again, and it goes on where it stopped";
                    PullEvent::Failed(ApiError::new(wharf_api::ErrorCode::Internal, text))
                }
            };
            // Whoever has gone meanwhile does not want to know.
            let _heard = events.send(last).await;
        });
        Ok(receiver)
    }

    fn pull_of(&self, request: PullRequest) -> Result<Pull> {
        let reference: Reference = request.image.parse()?;
        Ok(Pull {
            reference,
            platform: request.platform.as_deref().map(str::parse).transpose()?,
            credential: request.credential.map(credential),
            hosts: self.registries.clone(),
        })
    }

    async fn pull_told(&self, pull: Pull, events: mpsc::Sender<PullEvent>) -> PullEvent {
        let reference = pull.reference.clone();
        let teller = Teller { events, last: Mutex::default() };
        match self.images.pull(pull, move |progress| teller.tell(progress)).await {
            Ok(pulled) => {
                let name = reference.canonical();
                self.events.tell("image", "pull", pulled.id.hex(), Some(&name));
                PullEvent::Done {
                    id: pulled.id.hex().to_owned(),
                    name,
                    digest: pulled.digest.to_string(),
                    is_new: pulled.is_new,
                }
            }
            Err(error) => {
                tracing::warn!(image = %reference, %error, "pull failed");
                PullEvent::Failed(ApiError::from(&Error::from(error)))
            }
        }
    }

    /// Asks a registry whether it takes a credential.
    pub(crate) async fn try_login(&self, request: LoginRequest) -> Result<()> {
        // A registry is named as in an image's name.
        let name = format!("{}/x", request.registry);
        let reference: Reference = name.parse()?;
        if reference.registry() != request.registry {
            let text = format!("invalid registry {:?}: use HOST[:PORT]", request.registry);
            return Err(Error::Invalid(text));
        }
        let credential = credential(request.credential);
        let registry =
            Registry::of_host(&request.registry, self.registries.clone(), Some(credential));
        Ok(registry.check().await?)
    }
}

fn credential(given: RegistryCredential) -> Credential {
    match given {
        RegistryCredential::Password { username, password } => {
            Credential::Password { username, password }
        }
        RegistryCredential::IdentityToken(token) => Credential::IdentityToken(token),
    }
}

// === impl Teller ===

impl Teller {
    fn tell(&self, progress: Progress) {
        let event = match progress {
            Progress::Resolved { digest } => PullEvent::Resolved { digest: digest.to_string() },
            Progress::Layer { digest, state } => {
                if !self.is_due(&digest, &state) {
                    return;
                }
                layer(&digest, state)
            }
        };
        // A client that reads slowly misses steps, not the end.
        let _missed = self.events.try_send(event);
    }

    fn is_due(&self, digest: &Digest, state: &image::LayerState) -> bool {
        let image::LayerState::Downloading { current, total } = state else { return true };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = last.get(digest).is_none_or(|last| now.duration_since(*last) >= STEP);
        if due || current == total {
            last.insert(digest.clone(), now);
        }
        due || current == total
    }
}

fn layer(digest: &Digest, state: image::LayerState) -> PullEvent {
    use image::LayerState as S;
    let (state, current, total, detail) = match state {
        S::Waiting => (LayerState::Waiting, 0, 0, None),
        S::Downloading { current, total } => (LayerState::Downloading, current, total, None),
        S::Retrying { reason, pause } => {
            let detail = format!("{reason}; again in {} s", pause.as_secs_f32());
            (LayerState::Retrying, 0, 0, Some(detail))
        }
        S::Downloaded => (LayerState::Downloaded, 0, 0, None),
        S::Extracting => (LayerState::Extracting, 0, 0, None),
        S::Done => (LayerState::Done, 0, 0, None),
        S::Exists => (LayerState::Exists, 0, 0, None),
    };
    PullEvent::Layer { id: digest.short().to_owned(), state, current, total, detail }
}
