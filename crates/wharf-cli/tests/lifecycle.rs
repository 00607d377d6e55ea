//! The life of a container, through the real program in a test host.

#[cfg(test)]
mod lifecycle {
    mod attached;
    mod detached;
    mod exec;
    mod inside;
    mod inspect;
    mod logs;
    mod options;
    mod output;
    mod site;
    mod survival;
    mod volumes;
}
