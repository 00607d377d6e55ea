//! Processes of our own: detached starts, pidfds.
