//! Under a real dockerd.
