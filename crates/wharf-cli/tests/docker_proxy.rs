//! Wharf as dockerd's userland proxy: the contract by itself, and under Debian's real dockerd.

#[cfg(test)]
mod docker_proxy {
    mod contract;
    mod dockerd;
    mod scene;
}
