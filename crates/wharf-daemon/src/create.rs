//! Making containers: everything is checked before anything is written.

use std::collections::BTreeSet;

use wharf_api::{ContainerCreate, ContainerCreated};
use wharf_runtime::command::{Command, Overrides};
use wharf_runtime::image::Image;
use wharf_runtime::signal;
use wharf_runtime::spec::{self, ContainerSpec};
use wharf_spec::restart::RestartPolicyError;
use wharf_spec::{ContainerName, Expose, RestartPolicy};

use crate::clock;
use crate::connect;
use crate::crash;
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::health;
use crate::mounts;
use crate::names;
use crate::naming;
use crate::privileges;
use crate::record::{ContainerRecord, Phase};
use crate::removal::remove_dir;
use crate::resources;
use crate::restart::Restarts;
use crate::terminal;

/// What the kernel takes as a host name (`__NEW_UTS_LEN`).
const HOSTNAME_LIMIT: usize = 64;

// === impl Daemon ===

impl Daemon {
    /// Makes a container.
    pub fn create(&self, request: ContainerCreate) -> Result<ContainerCreated> {
        check(&request)?;
        let mut warnings = Vec::new();
        let resources = resources::resources(&request.resources, &mut warnings)?;
        let security = privileges::security(&request.security, request.network.as_deref())?;
        let image = self.images.obtain(&request.image.parse()?)?;
        let exposed = exposed(&request, &image)?;
        let id = fresh_id();
        let spec = ContainerSpec { resources, security, ..self.spec(&id, &request, &image)? };
        let record = self.record(id, request, &image, spec, exposed)?;
        crash::point("create.recorded");
        let finished = self
            .images
            .confirm(&image)
            .map_err(Error::from)
            .and_then(|()| self.finish_create(&record, &image.config.volumes));
        if let Err(error) = finished {
            // It is tried again when the daemon starts, and not what the caller asked about.
            if let Err(error) = self.discard(&record) {
                tracing::warn!(id = record.short_id(), %error, "discarding a container half made");
            }
            return Err(error);
        }
        warnings.extend(finished?);
        crash::point("create.done");
        self.events.tell("container", "create", &record.id, Some(&record.name));
        Ok(ContainerCreated { id: record.id, name: record.name, warnings })
    }

    fn finish_create(&self, record: &ContainerRecord, of_image: &[String]) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        let network = self.first_network(record)?;
        self.wanted(record, network.as_ref(), &mut warnings)?;
        self.check_connected(record)?;
        let dir = self.paths.container(&record.id);
        std::fs::create_dir_all(&dir).map_err(Error::io(format!("make {}", dir.display())))?;
        self.mount(record, of_image)?;
        if let Some(signal) = &record.spec.stop_signal
            && signal::parse(signal).is_err()
        {
            warnings.push(format!(
                "the image's stop signal {signal} is none: SIGTERM stands in for it"
            ));
        }
        Ok(warnings)
    }

    /// Nobody removes a volume between its making and the note of who uses it.
    fn mount(&self, record: &ContainerRecord, of_image: &[String]) -> Result<()> {
        let _held = self.volumes.lock();
        let made = self.make_mounts(record, of_image)?;
        crash::point("create.files");
        self.ledger.update_container(&record.id, |record| {
            record.phase = Phase::Created;
            record.spec.binds = made.binds;
            record.spec.storage.tmpfs = made.tmpfs;
        })?;
        Ok(())
    }

    /// Undoes a container nobody has been told of.
    pub(crate) fn discard(&self, record: &ContainerRecord) -> Result<()> {
        self.discard_volumes(&record.id)?;
        remove_dir(&self.paths.container(&record.id))?;
        self.erase(record)
    }

    /// Takes a container and its addresses out of the ledger.
    pub(crate) fn erase(&self, record: &ContainerRecord) -> Result<()> {
        self.ledger.transact(|draft| {
            connect::give_back(draft, record);
            draft.delete_container(&record.id);
            Ok(())
        })
    }

    fn spec(&self, id: &str, request: &ContainerCreate, image: &Image) -> Result<ContainerSpec> {
        let overrides = Overrides {
            entrypoint: request.entrypoint.clone(),
            cmd: request.command.clone().unwrap_or_default(),
            env: request.env.clone(),
            user: request.user.clone(),
            workdir: request.workdir.clone(),
        };
        let hostname = connect::hostname(id, request);
        let command = Command::merge(&image.config, &overrides, &hostname)?;
        let mut labels = image.config.labels.clone();
        labels.extend(request.labels.clone());
        Ok(ContainerSpec {
            id: id.to_owned(),
            layers: image.layers.clone(),
            dir: self.paths.container(id),
            args: command.args,
            env: terminal::with_term(command.env, request.terminal.tty),
            workdir: command.workdir,
            user: command.user,
            hostname,
            binds: Vec::new(),
            stop_signal: request
                .supervision
                .stop_signal
                .clone()
                .or(image.config.stop_signal.clone()),
            cgroup: self.paths.cgroup_parent().join(id),
            labels,
            terminal: terminal::spec(&request.terminal)?,
            resources: spec::Resources::default(),
            security: spec::Security::default(),
            storage: spec::Storage { read_only: request.storage.read_only, tmpfs: Vec::new() },
            network: spec::Network::default(),
            domainname: request.names.domainname.clone(),
        })
    }

    fn record(
        &self,
        id: String,
        request: ContainerCreate,
        image: &Image,
        spec: ContainerSpec,
        exposed: Vec<Expose>,
    ) -> Result<ContainerRecord> {
        self.ledger.transact(|draft| {
            let containers = &draft.before().containers;
            let taken = |name: &str| containers.values().any(|c| c.name == name);
            let name = match &request.name {
                Some(name) => naming::free_name(draft.before(), name)?,
                None => names::pick(taken),
            };
            let connected = connect::lease(draft, &id, &request)?;
            let record = ContainerRecord {
                id,
                name,
                created: clock::now(),
                image_id: image.id.to_string(),
                spec,
                exposed,
                network: connected.network,
                endpoint: connected.endpoint,
                aliases: request.names.aliases.clone(),
                further: connected.further,
                phase: Phase::Creating,
                started: None,
                exit: None,
                failure: None,
                health: health::merge(&image.config.health, &request.supervision.health)?,
                restarts: Restarts::default(),
                paused: false,
                with_volumes: false,
                request,
            };
            draft.put_container(record.clone());
            Ok(record)
        })
    }
}

/// Everything that can be said against a request without looking anything up.
fn check(request: &ContainerCreate) -> Result<()> {
    terminal::spec(&request.terminal)?;
    let invalid = |e: wharf_spec::SpecError| Error::Invalid(e.to_string());
    if let Some(name) = &request.name {
        name.strip_prefix('/').unwrap_or(name).parse::<ContainerName>().map_err(invalid)?;
    }
    for spec in &request.publish {
        spec.parse::<wharf_spec::PortSpec>().map_err(invalid)?;
    }
    if let Some(hostname) = &request.hostname {
        wharf_spec::name::validate_hostname(hostname).map_err(invalid)?;
        if hostname.len() > HOSTNAME_LIMIT {
            return Err(Error::Invalid(format!(
                "invalid hostname {hostname:?}: the kernel takes at most {HOSTNAME_LIMIT} bytes"
            )));
        }
    }
    mounts::asked(request)?;
    let words = request.command.iter().chain(&request.entrypoint).flatten().chain(&request.env);
    if words.into_iter().any(|word| word.contains('\0')) {
        return Err(Error::Invalid("no argument or variable can contain a NUL byte".into()));
    }
    if let Some(bad) = request.env.iter().find(|e| e.is_empty() || e.starts_with('=')) {
        return Err(Error::Invalid(format!(
            "invalid environment variable: {bad:?}: use NAME=value"
        )));
    }
    supervision(request)?;
    naming::check(request)?;
    connect::check(request)
}

fn supervision(request: &ContainerCreate) -> Result<()> {
    let asked = &request.supervision;
    let policy = asked.restart.as_deref().unwrap_or("no");
    let policy: RestartPolicy =
        policy.parse().map_err(|e: RestartPolicyError| Error::Invalid(e.to_string()))?;
    if request.auto_remove && policy != RestartPolicy::No {
        return Err(Error::Invalid(
            "conflicting options: cannot specify both --restart and --rm: one that is removed \
             when it ends cannot be started again"
                .into(),
        ));
    }
    if let Some(signal) = &asked.stop_signal {
        signal::parse(signal).map_err(|e| Error::Invalid(e.to_string()))?;
    }
    health::check(&asked.health)
}

fn exposed(request: &ContainerCreate, image: &Image) -> Result<Vec<Expose>> {
    let mut found = BTreeSet::new();
    for text in image.config.exposed.iter().chain(&request.expose) {
        found.insert(text.parse::<Expose>().map_err(|e| Error::Invalid(e.to_string()))?);
    }
    Ok(found.into_iter().collect())
}

fn fresh_id() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
