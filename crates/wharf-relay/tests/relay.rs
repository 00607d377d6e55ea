//! The relay as a whole: real sockets, in a network namespace per test.

#[cfg(test)]
mod relay {
    mod bench;
    mod control;
    mod endings;
    mod inside;
    mod process;
    mod succession;
    mod tcp;
    mod udp;
}
