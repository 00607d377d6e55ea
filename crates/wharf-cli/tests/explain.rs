//! `wharf explain` and `wharf doctor`, with the real program: each fault is made, and the hop it
//! is at has to be named.

#[cfg(test)]
mod explain {
    mod doctor;
    mod entrance;
    mod host;
    mod scene;
    mod target;
    mod targets;
    mod way;
}
