//! The kernel NAT plane: one nftables table, driven by a plan.
