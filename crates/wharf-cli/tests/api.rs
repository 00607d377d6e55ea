//! The daemon as programs see it: its socket, its API, its processes.

#[cfg(test)]
mod api {
    mod daemon;
    mod document;
    mod handover;
    mod shell;
    mod site;
    mod telling;
    mod together;
}
