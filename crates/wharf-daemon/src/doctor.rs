//! `wharf doctor`.
use crate::daemon::Daemon;
use wharf_api::Check;

impl Daemon {
    /// Looks.
    pub fn examine(&self) -> Vec<Check> {
        Vec::new()
    }
}
