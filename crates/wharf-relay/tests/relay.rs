//! The relay as a whole: real sockets, in a network namespace per test.

#[cfg(test)]
mod relay {
    mod bench;
    mod change;
    mod control;
    mod crowd;
    mod endings;
    mod inside;
    mod opener;
    mod process;
    mod removal;
    mod succession;
    mod tcp;
    mod udp;
}
