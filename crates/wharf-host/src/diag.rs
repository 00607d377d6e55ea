//! Which process holds a port.
