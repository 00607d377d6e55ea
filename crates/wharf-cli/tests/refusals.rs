//! What is refused, with the real program: the words, the exit code, and that nothing has changed.

#[cfg(test)]
mod refusals {
    mod ports;
    mod request;
    mod scene;
    mod verbs;
}
