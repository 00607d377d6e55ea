//! `container prune`, `network prune`, `system prune`.

use super::site::Site;

#[test]
fn only_what_nothing_uses_goes() {
    let Some(site) = Site::new("prune") else { return };
    site.detached("runs", "sleep 1000");
    site.ok(&["-d", "--name", "ended"], &["true"]);
    site.wharf.ok(["create", "--name", "never", &site.image(), "true"]);
    site.ok(&["-d", "--name", "again", "--restart", "always"], &["false"]);
    site.becomes("ended", "exited");
    site.refused(&["container", "prune"], 1, "add --force");
    let said = site.wharf.ok(["container", "prune", "-f"]);
    assert!(said.starts_with("Deleted Containers:\n"), "{said}");
    assert!(said.contains("Total reclaimed space: "), "{said}");
    let left = site.wharf.ok(["ps", "-a", "--format", "{{.Names}}"]);
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["again", "runs"]);
}

#[test]
fn networks_go_with_the_last_container_on_them() {
    let Some(site) = Site::new("prune nets") else { return };
    for name in ["used", "free", "freed"] {
        site.wharf.ok(["network", "create", name]);
    }
    site.ok(&["-d", "--name", "one", "--network", "used"], &["sleep", "1000"]);
    site.ok(&["-d", "--name", "two", "--network", "freed"], &["true"]);
    site.becomes("two", "exited");
    let said = site.wharf.ok(["network", "prune", "-f"]);
    assert!(said.contains("free\n") && !said.contains("freed"), "{said}");
    let said = site.wharf.ok(["system", "prune", "-f"]);
    assert!(said.contains("freed") && !said.contains("used\n"), "{said}");
    let left = site.wharf.ok(["network", "ls"]);
    assert!(left.contains("used") && !left.contains("freed"), "{left}");
}
