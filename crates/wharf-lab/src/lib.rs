//! Test hosts made of network namespaces.
