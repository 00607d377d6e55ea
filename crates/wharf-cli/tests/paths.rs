//! Every path a packet can take to a published port, in test hosts with the real program: the
//! bytes that come back, and the source address the container sees.

#[cfg(test)]
mod paths {
    mod host;
    mod matrix;
    mod offer;
    mod planes;
    mod reach;
    mod scene;
    mod way_back;
}
