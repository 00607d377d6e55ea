//! The kernel's share: what the plan says, and the tables that hold it.

use wharf_host::transparent;
use wharf_nft::NftPlane;
use wharf_plan::{Desired, Plan, Share, compile, compile_one};
use wharf_spec::{Publication, PublicationId};

use super::{DesiredState, Inner, steering};
use crate::error::Result;

/// The name of our table.
pub(crate) const TABLE: &str = "wharf";

// === impl Inner ===

impl Inner {
    pub(super) fn look_at_networks(&mut self, state: &dyn DesiredState) {
        self.networks = state.networks();
        self.networks.retain(|name, network| network.foreign || self.up.contains(name));
    }

    /// Has the answers of others' networks be marked from the first publication there on, and not
    /// only from the next reconcile.
    pub(super) fn mark_answers(&mut self) -> Result<()> {
        let others = self.networks.values().filter(|network| network.foreign);
        let answering = others.map(|network| network.bridge.clone()).collect();
        if !self.facts.nft_nat || self.plan.nft.answering == answering {
            return Ok(());
        }
        self.plan.nft.answering = answering;
        if let Some(nft) = self.nft.as_mut().filter(|_| self.table_made) {
            nft.apply(&self.plan.nft)?;
        }
        Ok(())
    }

    /// Plans more publications, on top of what there is. Answers what the kernel is to get.
    pub(super) fn plan_more<'a>(
        &mut self,
        more: impl IntoIterator<Item = &'a Publication> + Clone,
    ) -> Share {
        let (added, keeps_clients) = self.plan_once(more.clone());
        // Whoever watches the rules keeps the way back where it is.
        let way_back = !keeps_clients || self.way_back || self.lay_way_back();
        let local = added.ebpf.is_empty() || self.open_local();
        if way_back && local {
            return added;
        }
        // Once more, for a host that has them not.
        self.plan_once(more).0
    }

    fn plan_once<'a>(&mut self, more: impl IntoIterator<Item = &'a Publication>) -> (Share, bool) {
        let (mut added, mut keeps_clients) = (Share::default(), false);
        for publication in more {
            let (mut share, served) = compile_one(publication, &self.networks, &self.facts);
            let mut served = served;
            if self.steered.contains(&publication.id) {
                share.ebpf.steers.extend(steering::steers(publication));
                served.steered = true;
            }
            if self.is_taken(&publication.id) {
                share = Share::default();
            }
            added.add(share.clone());
            keeps_clients |= served.relay_keeps_clients;
            self.plan.shares.insert(publication.id.clone(), share);
            self.plan.publications.insert(publication.id.clone(), served);
        }
        (added, keeps_clients)
    }

    /// What is to be done, with the way back laid for what needs it. Where it cannot be laid, the
    /// plan is made for a host that has none.
    pub(super) fn prepare(
        &mut self,
        state: &dyn DesiredState,
        publications: &[Publication],
    ) -> Plan {
        self.look_at_networks(state);
        let desired = Desired { publications, networks: &self.networks };
        let plan = compile(desired, &self.facts);
        let way_back = !plan.publications.values().any(|served| served.relay_keeps_clients)
            || self.lay_way_back();
        let local = plan.ebpf.is_empty() || self.open_local();
        let plan = match way_back && local {
            true => plan,
            false => compile(Desired { publications, networks: &self.networks }, &self.facts),
        };
        self.with_steering(plan, publications)
    }

    /// The publications that other planes serve by `plan` than by the one in force.
    pub(super) fn other_planes(
        &self,
        plan: &Plan,
        publications: &[Publication],
    ) -> Vec<Publication> {
        let moves = |publication: &&Publication| {
            let planes = |plan: &Plan| {
                let served = plan.publications.get(&publication.id)?;
                Some(served.paths.iter().map(|path| (path.path, path.plane)).collect::<Vec<_>>())
            };
            let before = planes(&self.plan);
            before.is_some() && before != planes(plan)
        };
        publications.iter().filter(moves).cloned().collect()
    }

    fn lay_way_back(&mut self) -> bool {
        self.way_back = true;
        if let Err(error) = transparent::lay_way_back() {
            tracing::warn!(%error, "containers see their gateway where the relay serves them");
            self.facts.transparent = false;
        }
        self.facts.transparent
    }

    /// Opens what our table is changed by; nothing is changed yet.
    pub(super) fn open_kernel(&mut self) -> Result<()> {
        if self.facts.nft_nat && self.nft.is_none() {
            self.nft = Some(NftPlane::open_as(TABLE, self.table)?);
        }
        Ok(())
    }

    /// Makes the table hold what `plan` says; as long as there is nothing to hold, there is none.
    pub(super) fn apply_kernel(&mut self, plan: Plan) -> Result<()> {
        self.open_kernel()?;
        let plan = self.without_taken(plan);
        let wanted = self.table_made || plan.nft.has_work();
        if let Some(nft) = self.nft.as_mut().filter(|_| wanted) {
            nft.apply(&plan.nft)?;
            self.table_made = true;
        }
        self.plan = plan;
        self.apply_local();
        Ok(())
    }

    /// Whether somebody else has the host ports of a publication.
    fn is_taken(&self, id: &PublicationId) -> bool {
        self.lost.get(id).is_some_and(|loss| loss.taken)
    }

    /// The plan without the publications whose ports somebody else has: their clients are not to be
    /// led elsewhere.
    fn without_taken(&self, mut plan: Plan) -> Plan {
        for id in self.lost.keys().filter(|id| self.is_taken(id)) {
            let share = plan.shares.insert(id.clone(), Share::default());
            plan.subtract(&share.unwrap_or_default());
        }
        plan
    }

    /// Makes the table fit one publication, whose ports somebody else has taken or given back.
    pub(super) fn reconsider(&mut self, publication: &Publication) -> Result<()> {
        let removed = self.plan.shares.remove(&publication.id).unwrap_or_default();
        let added = self.plan_once([publication]).0;
        if removed == added {
            return Ok(());
        }
        self.change_kernel(&removed, &added)
    }

    pub(super) fn repair_kernel(&mut self) -> Result<Vec<String>> {
        let Some(nft) = self.nft.as_mut().filter(|_| self.table_made) else {
            return Ok(Vec::new());
        };
        if !nft.changed_by_others()? {
            return Ok(Vec::new());
        }
        let differences = nft.verify(&self.plan.nft)?;
        if !differences.is_empty() {
            nft.apply(&self.plan.nft)?;
        }
        Ok(differences)
    }

    /// Takes some entries out of the kernel planes and puts others in.
    pub(super) fn change_kernel(&mut self, removed: &Share, added: &Share) -> Result<()> {
        self.plan.subtract(removed);
        self.plan.add(added.clone());
        if removed.is_empty() && added.is_empty() {
            return Ok(());
        }
        if !self.table_made {
            let plan = std::mem::take(&mut self.plan);
            return self.apply_kernel(plan);
        }
        self.change_local(&removed.ebpf, &added.ebpf);
        match self.nft.as_mut().filter(|_| removed.nft != added.nft) {
            Some(nft) => Ok(nft.change(&removed.nft, &added.nft).map(drop)?),
            None => Ok(()),
        }
    }
}
