//! `wharf volume …`, and volumes without a name.

use std::fs;

use super::site::Site;

#[test]
fn volumes_are_made_listed_shown_and_removed() {
    let Some(site) = Site::new("volume verbs") else { return };
    assert_eq!(site.wharf.ok(["volume", "create", "--label", "a=b", "data"]), "data");
    assert_eq!(site.wharf.ok(["volume", "create", "data"]), "data", "one that is there stays");
    let made_up = site.wharf.ok(["volume", "create"]);
    assert_eq!(made_up.len(), 64);
    let listed = site.wharf.ok(["volume", "ls"]);
    assert!(
        listed.starts_with("DRIVER") && listed.contains("local") && listed.contains("data"),
        "{listed}"
    );
    let mut names: Vec<String> =
        site.wharf.ok(["volume", "ls", "-q"]).lines().map(str::to_owned).collect();
    names.sort();
    let mut wanted = vec!["data".to_owned(), made_up.clone()];
    wanted.sort();
    assert_eq!(names, wanted);
    let shown = site.wharf.json(["volume", "inspect", "data"])[0].clone();
    assert_eq!((&shown["Name"], &shown["Driver"]), (&"data".into(), &"local".into()));
    assert_eq!(shown["Labels"], serde_json::json!({"a": "b"}));
    let place = shown["Mountpoint"].as_str().unwrap().to_owned();
    assert!(fs::metadata(&place).unwrap().is_dir());

    site.detached("box", &["-v", "data:/data"], "sleep 1000");
    site.fails(&["volume", "rm", "data"], 1, "volume is in use - [box]");
    site.wharf.ok(["stop", "-t", "0", "box"]);
    site.fails(&["volume", "rm", "data"], 1, "volume is in use");
    site.wharf.ok(["rm", "box"]);
    assert_eq!(site.wharf.ok(["volume", "rm", "data"]), "data");
    assert!(!fs::exists(&place).unwrap());
    site.fails(&["volume", "rm", "data"], 1, "no such volume: data");
    site.wharf.ok(["volume", "rm", "-f", "data"]);
    site.fails(&["volume", "create", "a/b"], 1, "invalid characters");
    site.fails(&["volume", "rm", "../containers"], 1, "no such volume");
}

/// As after a removal that failed: what is left of one keeps no other from being removed.
#[test]
fn what_is_left_of_a_volume_is_in_nobodys_way() {
    let Some(site) = Site::new("volume left") else { return };
    site.wharf.ok(["volume", "create", "data"]);
    let left = site.wharf.state_dir().join("volumes/.gone-data");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("file"), "").unwrap();
    assert_eq!(site.wharf.ok(["volume", "rm", "data"]), "data");
    assert_eq!(site.wharf.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn volumes_without_a_name_go_when_that_is_said() {
    let Some(site) = Site::new("anonymous volumes") else { return };
    let volumes = || site.wharf.ok(["volume", "ls", "-q"]);
    site.detached("kept", &["-v", "/cache"], "sleep 1000");
    let name = site.wharf.inspect("kept")["Mounts"][0]["Name"].as_str().unwrap().to_owned();
    assert_eq!((volumes(), name.len()), (name.clone(), 64));
    site.wharf.ok(["rm", "-f", "kept"]);
    assert_eq!(volumes(), name, "as in Docker, it outlives the container");
    assert_eq!(site.wharf.ok(["volume", "prune", "-f"]).lines().nth(1), Some(name.as_str()));

    site.detached("gone", &["-v", "/cache", "-v", "named:/data"], "sleep 1000");
    site.wharf.ok(["rm", "-f", "-v", "gone"]);
    assert_eq!(volumes(), "named", "one with a name stays");
    site.says(&["-v", "/cache"], "touch /cache/x");
    assert_eq!(volumes(), "named", "run --rm takes its own with it");

    // One that another container uses, too, stays until that goes.
    site.detached("one", &["-v", "/cache"], "sleep 1000");
    site.detached("two", &["--volumes-from", "one"], "sleep 1000");
    site.wharf.ok(["rm", "-f", "-v", "one"]);
    site.exec("two", "touch /cache/x");
    site.wharf.ok(["rm", "-f", "-v", "two"]);
    assert_eq!(volumes(), "named");
}

#[test]
fn pruning_removes_what_nobody_uses_after_asking() {
    let Some(site) = Site::new("volume prune") else { return };
    site.wharf.ok(["volume", "create", "free"]);
    site.detached("box", &["-v", "used:/data"], "echo 12345 > /data/x; sleep 1000");
    site.says(&["-v", "free:/data"], "echo 1234 > /data/x");
    // Standard input is empty: that is no yes.
    let asked = site.wharf.ok(["volume", "prune", "--all"]);
    assert!(asked.contains("Are you sure you want to continue? [y/N]"), "{asked}");
    let pruned = site.wharf.ok(["volume", "prune", "-f"]);
    assert_eq!(pruned, "Total reclaimed space: 0B", "those with a name stay");
    let pruned = site.wharf.ok(["volume", "prune", "--all", "--force"]);
    assert_eq!(pruned, "Deleted Volumes:\nfree\n\nTotal reclaimed space: 5B");
    assert_eq!(site.wharf.ok(["volume", "ls", "-q"]), "used");
}

#[test]
fn a_create_that_fails_leaves_no_volume() {
    let Some(site) = Site::new("undone volumes") else { return };
    site.wharf.ok(["version"]);
    let image = site.image();
    let line = ["create", "-v", "/cache", "--volumes-from", "nobody", &image, "true"];
    site.fails(&line, 125, "nobody");
    assert_eq!(site.wharf.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn a_volume_is_removed_however_deep_a_program_has_dug() {
    const DEPTH: usize = 20_000;
    let Some(site) = Site::new("deep volume") else { return };
    site.wharf.ok(["volume", "create", "pit"]);
    let place = site.wharf.ok(["volume", "inspect", "-f", "{{.Mountpoint}}", "pit"]);
    // Tests are processes of their own.
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(place.trim()).unwrap();
    for _ in 0..DEPTH {
        std::fs::create_dir("d").unwrap();
        std::env::set_current_dir("d").unwrap();
    }
    std::env::set_current_dir(before).unwrap();
    let daemon = site.wharf.pids_of("daemon");
    site.wharf.ok(["volume", "rm", "pit"]);
    assert_eq!(site.wharf.pids_of("daemon"), daemon, "it has survived that");
    assert!(!std::path::Path::new(place.trim()).exists());
}
