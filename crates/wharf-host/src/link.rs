//! Links: bridges, veth pairs, addresses on them.
