//! Kernel parameters of the current network namespace.
