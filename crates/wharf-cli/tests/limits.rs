//! Limits, privileges, mounts and the verbs about them, through the real program in a test host.

#[cfg(test)]
mod limits {
    mod calls;
    mod groups;
    mod memory;
    mod mounts;
    mod privileges;
    mod site;
    mod tables;
    mod verbs;
    mod volumes;
}
