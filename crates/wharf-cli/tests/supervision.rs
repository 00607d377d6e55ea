//! Restart policies, health checks, and how containers are told to end, in a test host.

#[cfg(test)]
mod supervision {
    mod ending;
    mod health;
    mod restart;
    #[path = "../lifecycle/site.rs"]
    #[expect(dead_code, reason = "shared with the tests of the lifecycle, which use more of it")]
    mod site;
}
