//! SIGKILL at every step: afterwards nothing leaks, and nothing that should run has stopped.

#[cfg(test)]
mod crashes {
    mod carrying;
    mod changes;
    mod disk;
    mod endings;
    mod processes;
    mod shims;
    mod site;
    mod steps;
    mod teardown;
    mod upgrade;
}
