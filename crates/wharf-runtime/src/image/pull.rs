//! Pulling: from a name to an image in the store.
//!
//! Layers come side by side, each is verified, unpacked on its own and kept from removal until the
//! image is there. The image gets its name last, so that whatever goes wrong before leaves the old
//! meaning of the name and nothing half-made that could run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::config::ConfigFile;
use crate::image::downloads::Turn;
use crate::image::platform::Platform;
use crate::image::registry::{
    BlobPlace, Credential, Described, Document, Hosts, Manifest, Registry, Watch, choose,
};
use crate::image::store::Origin;
use crate::image::{ImageStore, Reference, builtin};

/// As many as Docker; more share the same line.
const DOWNLOADS: usize = 3;
/// A large layer takes so long on a slow disk; after that its files go with the next removal.
const UNPACK_LIMIT: Duration = Duration::from_secs(60);
const UNPACK_POLL: Duration = Duration::from_millis(10);
/// Indexes within indexes: two are seen in practice.
const DEPTH_LIMIT: usize = 4;

/// What is to be pulled, and how.
#[derive(Debug, Clone)]
pub struct Pull {
    /// The name.
    pub reference: Reference,
    /// For which platform; this machine's when absent.
    pub platform: Option<Platform>,
    /// Who we are to the registry.
    pub credential: Option<Credential>,
    /// Which registries may be spoken to over plain HTTP.
    pub hosts: Hosts,
}

/// What a pull tells while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The image is known; so many layers it has.
    Resolved {
        /// The digest the name stands for.
        digest: Digest,
    },
    /// Something about one layer.
    Layer {
        /// The digest of its blob.
        digest: Digest,
        /// How far it is.
        state: LayerState,
    },
}

/// How far a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerState {
    /// It is needed.
    Waiting,
    /// So many bytes of it are here.
    Downloading {
        /// The bytes that are here.
        current: u64,
        /// All its bytes.
        total: u64,
    },
    /// The registry failed; it is asked again.
    Retrying {
        /// Why.
        reason: String,
        /// After which pause.
        pause: Duration,
    },
    /// All its bytes are here and have its digest.
    Downloaded,
    /// It is being unpacked.
    Extracting,
    /// It is in the store.
    Done,
    /// It was in the store before.
    Exists,
}

/// What a pull came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub id: Digest,
    /// The digest the name stands for, of an index where the registry has one.
    pub digest: Digest,
    /// Whether anything is different from before.
    pub is_new: bool,
}

type Tell = Arc<dyn Fn(Progress) + Send + Sync>;

/// What every layer of one pull shares.
struct Shared {
    store: Arc<ImageStore>,
    registry: Registry,
    tell: Tell,
    downloads: Semaphore,
    unpacks: Semaphore,
}

struct Layer {
    blob: BlobPlace,
    diff_id: Digest,
}

struct Told<'a> {
    tell: &'a Tell,
    blob: &'a BlobPlace,
}

/// What a name stands for on one platform.
struct Resolved {
    digest: Digest,
    manifest_digest: Digest,
    manifest: Manifest,
    config: ConfigFile,
}

// === impl ImageStore ===

impl ImageStore {
    /// Pulls an image; dropping the future ends it, and the next pull goes on where it stopped.
    ///
    /// # Errors
    /// The registry refuses, cannot be reached or gives something else than it promised; the disk
    /// is full. The store is as it was then.
    pub async fn pull(
        self: &Arc<Self>,
        pull: Pull,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Pulled> {
        if builtin::owns(&pull.reference) {
            let text = "wharf/whoami is built in: it is made of the running program, not pulled";
            return Err(Error::Spec(text.to_owned()));
        }
        let registry = Registry::new(&pull.reference, pull.hosts, pull.credential);
        let resolved = resolve(&registry, &pull.reference, pull.platform.as_ref()).await?;
        let tell: Tell = Arc::new(tell);
        tell(Progress::Resolved { digest: resolved.digest.clone() });
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            store: Arc::clone(self),
            registry,
            tell,
            downloads: Semaphore::new(DOWNLOADS),
            unpacks: Semaphore::new(threads),
        };
        let pin = self.layers.pin(resolved.config.layers());
        let blobs: Vec<Digest> =
            resolved.manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        let shared = Arc::new(shared);
        let outcome = match layers(&shared, &resolved).await {
            Ok(()) => {
                let (store, reference) = (Arc::clone(self), pull.reference);
                let commit = move || store.commit_pulled(&reference, resolved);
                let committed = tokio::task::spawn_blocking(commit).await;
                committed.map_err(|e| Error::Layer(format!("the pull stumbled: {e}")))?
            }
            Err(error) => Err(error),
        };
        drop(pin);
        if outcome.is_err() {
            self.clear_away(&shared).await?;
        }
        // What is in the store need not stay beside it, and a full disk stays full as long as half
        // an image is on it.
        if outcome.as_ref().map_or_else(Error::is_disk_full, |_| true) {
            for blob in &blobs {
                self.downloads.turn(blob).await.discard()?;
            }
        }
        outcome
    }

    /// Removes the layers of a pull that came to nothing. What has been fetched stays for the next.
    async fn clear_away(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<()> {
        // A layer that is being unpacked does not stop for the failure of another.
        let deadline = Instant::now() + UNPACK_LIMIT;
        while Arc::strong_count(shared) > 1 && Instant::now() < deadline {
            tokio::time::sleep(UNPACK_POLL).await;
        }
        let store = Arc::clone(self);
        let cleared = tokio::task::spawn_blocking(move || store.collect_now());
        cleared.await.map_err(|e| Error::Layer(format!("the pull stumbled: {e}")))?
    }

    fn commit_pulled(&self, reference: &Reference, resolved: Resolved) -> Result<Pulled> {
        let id = resolved.manifest.config.digest;
        let at = reference.at(&resolved.digest);
        let names: Vec<String> = match reference.digest() {
            // Docker gives no tag to what was asked for by digest.
            Some(_) => Vec::new(),
            None => vec![reference.tagged()],
        };
        let diff_ids = resolved.config.layers().to_vec();
        let locked = self.lock_with_layers(&diff_ids, || Ok(()))?;
        let known = self.catalogue.record(&id)?;
        let all = self.catalogue.names()?;
        let named = names.iter().all(|name| all.get(name) == Some(&id));
        let is_new = !named || !known.is_some_and(|known| known.repo_digests.contains(&at));
        let origin = Origin { manifest: Some(resolved.manifest_digest), at: Some(at) };
        self.record(&locked, &id, resolved.config, origin, &names)?;
        Ok(Pulled { id, digest: resolved.digest, is_new })
    }
}

async fn resolve(
    registry: &Registry,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<Resolved> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let refuse = |reason: String| Error::Registry {
        registry: reference.registry().to_owned(),
        reason: format!("{reference}: {reason}"),
    };
    let (mut document, digest) = registry.document(&reference.wanted()).await?;
    let mut manifest_digest = digest.clone();
    for _ in 0..DEPTH_LIMIT {
        let Document::Index(entries) = &document else { break };
        let Described { digest, .. } = choose(entries, &wanted).map_err(refuse)?.clone();
        (document, manifest_digest) = registry.document(&digest.to_string()).await?;
    }
    let Document::Image(manifest) = document else {
        return Err(refuse("its indexes are nested too deep".to_owned()));
    };
    let text = registry.text(&manifest.config).await?;
    let config = ConfigFile::read(text)
        .map_err(|e| Error::json(format!("the configuration of {reference}"), e))?;
    check(&manifest, &config, &wanted).map_err(refuse)?;
    Ok(Resolved { digest, manifest_digest, manifest, config })
}

fn check(manifest: &Manifest, config: &ConfigFile, wanted: &Platform) -> Result<(), String> {
    let (said, there) = (config.layers().len(), manifest.layers.len());
    if said != there {
        return Err(format!("{there} layers, but its configuration has {said}"));
    }
    if config.os() != "linux" {
        return Err(format!("it is for {}, not linux", config.os()));
    }
    let architecture = config.architecture();
    if !architecture.is_empty() && !wanted.takes(&architecture, config.variant().as_deref()) {
        return Err(format!(
            "it is for linux/{architecture}, not {wanted}; ask for it with --platform \
             linux/{architecture} if it is to run here all the same"
        ));
    }
    Ok(())
}

/// Gets every layer into the store.
async fn layers(shared: &Arc<Shared>, resolved: &Resolved) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut running = JoinSet::new();
    let diff_ids = resolved.config.layers();
    for (blob, diff_id) in resolved.manifest.layers.iter().zip(diff_ids) {
        // An empty layer may stand several times in one image.
        if seen.insert((blob.digest.clone(), diff_id.clone())) {
            let layer = Layer { blob: blob.clone(), diff_id: diff_id.clone() };
            shared.told(&layer, LayerState::Waiting);
            running.spawn(layer.get(Arc::clone(shared)));
        }
    }
    // The first failure ends the others: a dropped set aborts them.
    while let Some(ended) = running.join_next().await {
        ended.map_err(|e| Error::Layer(format!("a layer's task stumbled: {e}")))??;
    }
    Ok(())
}

// === impl Shared ===

impl Shared {
    fn told(&self, layer: &Layer, state: LayerState) {
        (self.tell)(Progress::Layer { digest: layer.blob.digest.clone(), state });
    }
}

// === impl Layer ===

impl Layer {
    async fn get(self, shared: Arc<Shared>) -> Result<()> {
        // Held while this layer is fetched and no longer: whoever keeps one turn and waits for
        // another may wait for somebody who does the same.
        let turn = shared.store.downloads.turn(&self.blob.digest).await;
        if shared.store.layers.has(&self.diff_id) {
            shared.told(&self, LayerState::Exists);
            return Ok(());
        }
        self.download(&shared, &turn).await?;
        shared.told(&self, LayerState::Downloaded);
        self.unpack(&shared, &turn).await?;
        shared.told(&self, LayerState::Done);
        Ok(())
    }

    async fn download(&self, shared: &Shared, turn: &Turn) -> Result<()> {
        let _turn = shared.downloads.acquire().await;
        let place = turn.place().clone();
        let partial = tokio::task::spawn_blocking(move || place.partial());
        let partial = partial.await.map_err(|e| Error::Layer(format!("stumbled: {e}")))??;
        let watch = Told { tell: &shared.tell, blob: &self.blob };
        shared.registry.download(&self.blob, partial, &watch).await
    }

    async fn unpack(&self, shared: &Arc<Shared>, turn: &Turn) -> Result<()> {
        let _turn = shared.unpacks.acquire().await;
        shared.told(self, LayerState::Extracting);
        let (holder, diff_id) = (Arc::clone(shared), self.diff_id.clone());
        let (digest, place) = (self.blob.digest.clone(), turn.place().clone());
        let unpacked = tokio::task::spawn_blocking(move || {
            holder.store.layers.ensure(&diff_id, Some(&digest), || place.read())
        });
        unpacked.await.map_err(|e| Error::Layer(format!("stumbled: {e}")))?
    }
}

// === impl Told ===

impl Watch for Told<'_> {
    fn reached(&self, bytes: u64) {
        let state = LayerState::Downloading { current: bytes, total: self.blob.size };
        (self.tell)(Progress::Layer { digest: self.blob.digest.clone(), state });
    }

    fn again(&self, reason: &Error, pause: Duration) {
        let state = LayerState::Retrying { reason: reason.to_string(), pause };
        tracing::warn!(layer = %self.blob.digest, %reason, ?pause, "a download is tried again");
        (self.tell)(Progress::Layer { digest: self.blob.digest.clone(), state });
    }
}
