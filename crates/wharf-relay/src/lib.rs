//! The user-space plane: a TCP and UDP relay, a library and a process.
