//! Conntrack entries: find and delete.
