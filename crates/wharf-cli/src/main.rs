//! The `wharf` program.
fn main() {}
