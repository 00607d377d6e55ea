//! Containers that join and leave networks after they were made, running or not.

use std::collections::BTreeSet;
use std::sync::Arc;

use wharf_api::options::NetworkJoin;
use wharf_api::{NetworkConnect, NetworkDisconnect};
use wharf_host::netns::Netns;
use wharf_network::{lead_out, plug, unplug};
use wharf_runtime::client::Shim;

use super::{Mode, further, leading_out, meant};
use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::naming;
use crate::record::{Attachment, ContainerRecord, Owner, Phase};

// === impl Daemon ===

impl Daemon {
    /// Gives a container a place on one more network, at once if it runs.
    pub fn connect(self: &Arc<Self>, network: &str, request: NetworkConnect) -> Result<()> {
        for alias in &request.aliases {
            naming::check_alias(alias)?;
        }
        let id = self.id_of(&request.container)?;
        let NetworkConnect { aliases, ip, ip6, .. } = request;
        let join = NetworkJoin { network: network.to_owned(), aliases, ip, ip6 };
        self.in_turn(&id, || self.connect_in_turn(&id, &join))
    }

    /// Takes a container off a network.
    pub fn disconnect(self: &Arc<Self>, network: &str, request: &NetworkDisconnect) -> Result<()> {
        let id = self.id_of(&request.container)?;
        self.in_turn(&id, || self.disconnect_in_turn(&id, network))
    }

    fn connect_in_turn(self: &Arc<Self>, id: &str, join: &NetworkJoin) -> Result<()> {
        let before = self.changeable(id)?;
        let files = self.files(&before)?;
        let (after, place) = self.ledger.transact(|draft| {
            let mut record = draft.container(id)?;
            let index = free_index(&record);
            let place = further(draft, id, index, join)?;
            add(&mut record, place.clone());
            draft.put_container(record.clone());
            Ok((record, place))
        })?;
        if let Err(error) = self.plug_live(&after, &place, &files) {
            drop(unplug(&place.endpoint));
            self.forget_place(id, &place.network)?;
            return Err(error);
        }
        self.tell_network(&place.network, "connect", &after);
        Ok(())
    }

    fn plug_live(
        self: &Arc<Self>,
        record: &ContainerRecord,
        place: &Attachment,
        before: &Files,
    ) -> Result<()> {
        let Some(shim) = self.live_shim(record)? else { return Ok(()) };
        let network = self.ledger.read(|it| it.find_network(&place.network).cloned())?;
        self.bring_up(&network)?;
        let mut led = [false; 2];
        for earlier in record.places().filter(|it| it.network != place.network) {
            leading_out(earlier.endpoint, &mut led);
        }
        plug(&leading_out(&place.endpoint, &mut led), &Netns::of_process(shim.pid().pid)?)?;
        self.files(record)?.write_over(before, &self.paths.container(&record.id))?;
        if self.names.serves(&record.id) { Ok(()) } else { self.serve_names(record, &shim) }
    }

    fn disconnect_in_turn(self: &Arc<Self>, id: &str, network: &str) -> Result<()> {
        let before = self.changeable(id)?;
        let name = self.ledger.read(|it| meant(it, network).map(|it| it.name.clone()))?;
        let Some(place) = before.places().find(|place| place.network == name) else {
            return Err(Error::Invalid(format!(
                "container {:?} is not connected to network {name}",
                before.name
            )));
        };
        self.refuse_unpublishing(&before, &name)?;
        let files = self.files(&before)?;
        let after = self.forget_place(id, &name)?;
        let unplugged = unplug(place.endpoint);
        if let Some(shim) = self.live_shim(&after)? {
            let netns = Netns::of_process(shim.pid().pid)?;
            let mut led = [false; 2];
            for left in after.places() {
                lead_out(&leading_out(left.endpoint, &mut led), &netns)?;
            }
            self.files(&after)?.write_over(&files, &self.paths.container(id))?;
        }
        self.tell_network(&name, "disconnect", &after);
        unplugged?;
        Ok(())
    }

    /// The record of a container whose networks may be changed.
    fn changeable(&self, id: &str) -> Result<ContainerRecord> {
        let record = self.ledger.container(id)?;
        let refused =
            |why: &str| Err(Error::Conflict(format!("container {:?} {why}", record.name)));
        match (record.mode(), record.phase) {
            (Mode::Host, _) => refused(
                "is on the host's own network, which it cannot leave or share: make it anew",
            ),
            (Mode::Joined(_), _) => {
                refused("shares another container's network: connect and disconnect that one")
            }
            (_, Phase::Creating | Phase::Starting | Phase::Removing) => {
                refused("is being changed by somebody else; try again")
            }
            _ => Ok(record),
        }
    }

    fn live_shim(&self, record: &ContainerRecord) -> Result<Option<Shim>> {
        if record.is_live() { Ok(Shim::adopt(&self.paths.shim(&record.id))?) } else { Ok(None) }
    }

    /// Published ports go by the first network; they would lead nowhere.
    fn refuse_unpublishing(&self, record: &ContainerRecord, network: &str) -> Result<()> {
        let owner = Owner::Container(record.id.clone());
        let published = self.ledger.read(|state| state.published_by(&owner).next().is_some());
        let (asked, all) = (!record.request.publish.is_empty(), record.request.publish_all);
        if record.network != network || !(published || asked || all) {
            return Ok(());
        }
        let remedy = match all {
            true => "make the container anew on another network".to_owned(),
            false => format!("`wharf unpublish {} --all` first", record.name),
        };
        Err(Error::Conflict(format!(
            "the published ports of container {:?} go by network {network}: {remedy}",
            record.name
        )))
    }

    fn forget_place(&self, id: &str, network: &str) -> Result<ContainerRecord> {
        self.ledger.transact(|draft| {
            let mut record = draft.container(id)?;
            take(&mut record, network);
            if let Ok(mut network) = draft.network(network) {
                network.detach(id);
                draft.put_network(network);
            }
            draft.put_container(record.clone());
            Ok(record)
        })
    }

    fn tell_network(&self, network: &str, action: &str, record: &ContainerRecord) {
        let detail = format!("container {}", record.name);
        let id = self.ledger.read(|state| state.networks.get(network).map(|it| it.id.clone()));
        let id = id.unwrap_or_default();
        self.events.tell_more("network", action, &id, Some(network), Some(&detail));
    }
}

/// The lowest number no interface of the container has.
fn free_index(record: &ContainerRecord) -> usize {
    let taken: BTreeSet<&str> = record.places().map(|it| it.endpoint.interface.as_str()).collect();
    (0..).find(|index| !taken.contains(format!("eth{index}").as_str())).unwrap_or(taken.len())
}

fn add(record: &mut ContainerRecord, place: Attachment) {
    if record.endpoint.is_none() {
        record.network = place.network;
        record.endpoint = Some(place.endpoint);
        record.aliases = place.aliases;
    } else {
        record.further.push(place);
    }
}

/// Takes a place away; the next takes the first one's part.
fn take(record: &mut ContainerRecord, network: &str) {
    if record.network != network {
        record.further.retain(|place| place.network != network);
        return;
    }
    record.endpoint = None;
    record.network = "none".to_owned();
    record.aliases = Vec::new();
    if !record.further.is_empty() {
        let next = record.further.remove(0);
        add(record, next);
    }
}
