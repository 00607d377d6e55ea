//! The kernel's share: what the plan says, and the tables that hold it.

use wharf_host::transparent;
use wharf_nft::{NftPlane, Ownership};
use wharf_plan::nft::NftPlan;
use wharf_plan::{Desired, Plan, compile, compile_one};
use wharf_spec::Publication;

use super::{DesiredState, Inner};
use crate::error::Result;

/// The name of our table.
pub(crate) const TABLE: &str = "wharf";

// === impl Inner ===

impl Inner {
    pub(super) fn look_at_networks(&mut self, state: &dyn DesiredState) {
        self.networks = state.networks();
        self.networks.retain(|name, network| network.foreign || self.up.contains(name));
    }

    /// Plans more publications, on top of what there is. Answers what the kernel is to get.
    pub(super) fn plan_more<'a>(
        &mut self,
        more: impl IntoIterator<Item = &'a Publication> + Clone,
    ) -> NftPlan {
        let (added, keeps_clients) = self.plan_once(more.clone());
        // Whoever watches the rules keeps the way back where it is.
        if !keeps_clients || self.way_back || self.lay_way_back() {
            return added;
        }
        // Once more, for a host that has none.
        self.plan_once(more).0
    }

    fn plan_once<'a>(
        &mut self,
        more: impl IntoIterator<Item = &'a Publication>,
    ) -> (NftPlan, bool) {
        let (mut added, mut keeps_clients) = (NftPlan::default(), false);
        for publication in more {
            let (share, served) = compile_one(publication, &self.networks, &self.facts);
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
        if !plan.publications.values().any(|served| served.relay_keeps_clients)
            || self.lay_way_back()
        {
            return plan;
        }
        compile(Desired { publications, networks: &self.networks }, &self.facts)
    }

    fn lay_way_back(&mut self) -> bool {
        self.way_back = true;
        if let Err(error) = transparent::lay_way_back() {
            tracing::warn!(%error, "containers see their gateway where the relay serves them");
            self.facts.transparent = false;
        }
        self.facts.transparent
    }

    /// Makes the table hold what `plan` says.
    pub(super) fn apply_kernel(&mut self, plan: Plan) -> Result<()> {
        if self.facts.nft_nat && (self.nft.is_some() || !plan.nft.is_empty()) {
            let nft = match &mut self.nft {
                Some(nft) => nft,
                none => none.insert(NftPlane::open_as(TABLE, Ownership::Owned)?),
            };
            nft.apply(&plan.nft)?;
        }
        self.plan = plan;
        Ok(())
    }

    /// Takes some entries out of the table and puts others in.
    pub(super) fn change_kernel(&mut self, removed: &NftPlan, added: &NftPlan) -> Result<()> {
        self.plan.nft.subtract(removed);
        self.plan.nft.add(added.clone());
        let nothing = removed.is_empty() && added.is_empty();
        match &mut self.nft {
            Some(nft) if !nothing => {
                nft.change(removed, added)?;
            }
            None if !added.is_empty() && self.facts.nft_nat => {
                let plan = std::mem::take(&mut self.plan);
                self.apply_kernel(plan)?;
            }
            _ => {}
        }
        Ok(())
    }
}
