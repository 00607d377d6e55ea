//! The relay as a whole: real sockets, in a network namespace per test.

#[cfg(test)]
mod relay {
    mod bench;
    mod control;
    mod process;
    mod tcp;
    mod udp;
}
