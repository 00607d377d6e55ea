//! The plane of a build without programs: it cannot be had, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use wharf_plan::ebpf::{EbpfPlan, Steer};
use wharf_spec::PublicationId;

use crate::error::{Error, Result};
use crate::obstacle::Obstacle;
use crate::{Applied, Counters, Overflow};

/// Whether the plane can be had; in this build it cannot.
///
/// # Errors
/// Always [`Obstacle::NotBuiltIn`].
pub fn probe() -> Result<(), Obstacle> {
    Err(Obstacle::NotBuiltIn)
}

/// A plane that there is none of.
#[derive(Debug)]
pub struct EbpfPlane(Infallible);

// === impl EbpfPlane ===

#[expect(clippy::missing_errors_doc, reason = "no value exists to call these on")]
impl EbpfPlane {
    /// Says that this build has no programs.
    ///
    /// # Errors
    /// Always [`Obstacle::NotBuiltIn`].
    pub fn open(_place: &Path) -> Result<Self> {
        Err(Obstacle::NotBuiltIn.into())
    }

    /// As with programs.
    pub fn apply(&mut self, _plan: &EbpfPlan) -> Result<Applied> {
        match self.0 {}
    }

    /// As with programs.
    pub fn change(&mut self, _removed: &EbpfPlan, _added: &EbpfPlan) -> Result<Applied> {
        match self.0 {}
    }

    /// As with programs.
    pub fn observe(&self) -> Result<EbpfPlan> {
        match self.0 {}
    }

    /// As with programs.
    pub fn set_local_addresses(
        &mut self,
        _addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<()> {
        match self.0 {}
    }

    /// As with programs.
    pub fn set_floor(&mut self, _steer: &Steer, _sockets: &[BorrowedFd<'_>]) -> Result<()> {
        match self.0 {}
    }

    /// As with programs.
    pub fn replace_others(&mut self) {
        match self.0 {}
    }

    /// As with programs.
    pub fn counters(&self) -> Result<BTreeMap<PublicationId, Counters>> {
        match self.0 {}
    }

    /// As with programs.
    pub fn overflow(&self) -> Result<Overflow> {
        match self.0 {}
    }

    /// As with programs.
    pub fn sever(&mut self, _publications: &BTreeSet<PublicationId>) -> Result<usize> {
        match self.0 {}
    }

    /// As with programs.
    pub fn sever_where(
        &mut self,
        _publications: &BTreeSet<PublicationId>,
        _from: impl Fn(IpAddr) -> bool,
    ) -> Result<usize> {
        match self.0 {}
    }

    /// As with programs.
    pub fn is_attached(&self) -> Result<bool> {
        match self.0 {}
    }

    /// As with programs.
    pub fn repair(&mut self) -> Result<Vec<&'static str>> {
        match self.0 {}
    }

    /// As with programs.
    pub fn set_pace(&mut self, _pace: Duration) {
        match self.0 {}
    }

    /// As with programs.
    pub fn dismantle(self) -> Result<(), Vec<Error>> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_programs_says_so_and_how_to_get_them() {
        let refused = EbpfPlane::open(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(refused.starts_with("the ebpf plane is not built in"), "{refused}");
        assert!(refused.contains("clang"), "{refused}");
        assert_eq!(probe().unwrap_err().to_string(), refused);
    }
}
