//! Networks, with the real program: how they are made, listed and removed, which addresses are
//! given out, and what a container sees of its own network.

#[cfg(test)]
mod networks {
    mod inside;
    mod lifecycle;
    mod scene;
}
