//! Publishing as a living thing: ports of what runs are published, changed, moved and taken back,
//! and nobody who uses another port, or is still allowed, notices.

#[cfg(test)]
mod live {
    mod drain;
    mod engines;
    mod hand_over;
    mod options;
    mod publish;
    mod refused;
    mod scene;
    mod steady;
    mod survival;
    mod targets;
    mod undone;
}
