//! What one publication has each kernel plane hold.

use crate::ebpf::EbpfPlan;
use crate::nft::NftPlan;

/// The part of one publication, or of several, in what the kernel planes are to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Of the kernel NAT plane.
    pub nft: NftPlan,
    /// Of the eBPF plane.
    pub ebpf: EbpfPlan,
}

// === impl Share ===

impl Share {
    /// Whether there is nothing to be held.
    pub fn is_empty(&self) -> bool {
        self.nft.is_empty() && self.ebpf.is_empty()
    }

    /// Puts the entries of `more` to these.
    pub fn add(&mut self, more: Self) {
        self.nft.add(more.nft);
        self.ebpf.add(more.ebpf);
    }
}
