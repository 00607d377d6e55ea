//! `cp`, `prune` and templates, in a test host.

#[cfg(test)]
mod copying {
    mod cp;
    mod crowd;
    mod prune;
    #[path = "../lifecycle/site.rs"]
    #[expect(dead_code, reason = "shared with the tests of the lifecycle, which use more of it")]
    mod site;
    mod template;
}
