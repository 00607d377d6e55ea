//! Terminals, standard input and attaching, through the real program on a real pty.

#[cfg(test)]
mod terminal {
    mod attach;
    mod exec;
    mod keys;
    mod logs;
    mod pipes;
    mod pty;
    mod refusals;
    mod shell;
    mod site;
    mod survival;
    mod tmux;
}
