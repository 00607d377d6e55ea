//! The engines as they are: Debian's Docker and Podman in test hosts, and strangers that answer
//! anything.

#[cfg(test)]
mod engines {
    mod real;
    mod scene;
    mod strange;
    mod stranger;
}
