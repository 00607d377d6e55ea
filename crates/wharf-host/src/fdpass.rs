//! Descriptors over unix sockets.
