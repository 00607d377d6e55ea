//! Networks and endpoints: bridges, veth pairs, address pools.
