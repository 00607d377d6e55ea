//! The host's own processes, led straight to containers, and ranges that one socket listens for.

#[cfg(test)]
mod local {
    mod connect;
    mod life;
    mod scene;
    mod steering;
}
