//! The plane outlives the daemon, is put right when others detach it, and leaves nothing.

use std::collections::BTreeSet;

use wharf_lab::wait;

use super::scene::{LIMIT, OWN, Scene, links, own_links};

#[test]
fn a_killed_daemon_leaves_the_plane_in_force_and_the_next_one_adopts_it() {
    let Some(scene) = Scene::new("adopted") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let prober = scene.host.probe("tcp", "127.0.0.1:8080", 200).unwrap();
    prober.answers(20, LIMIT).unwrap();
    let stream = scene.host.tcp("127.0.0.1:8080").unwrap();
    for _ in 0..3 {
        scene.wharf.kill9("daemon").unwrap();
        scene.wharf.kill9("relay").unwrap_or_default();
        prober.answers(20, LIMIT).unwrap();
        scene.wharf.ok(["ps"]);
    }
    let counted = || scene.entry("8080", "tcp")["connections"].as_u64() >= Some(1);
    wait::until(LIMIT, "an old connection that is counted", || counted().then_some(())).unwrap();
    drop(stream);
    let seen = prober.stop().unwrap();
    assert!(seen.is_flawless(), "{seen}");
}

#[test]
fn a_program_that_somebody_unpins_is_attached_again() {
    let Some(scene) = Scene::new("unpinned") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let events = scene.wharf.events().unwrap();
    let mut pins = Vec::new();
    let mut waiting = vec![scene.place()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { waiting.push(path) } else { pins.push(path) }
        }
    }
    let link = pins.iter().find(|it| it.components().any(|part| part.as_os_str() == "links"));
    std::fs::remove_file(link.unwrap_or_else(|| panic!("{pins:#?}"))).unwrap();
    let repairs = events.wait_for("plane", "repair", 1).unwrap();
    let detail = repairs[0]["detail"].as_str().unwrap();
    assert!(detail.contains("was detached"), "{detail}");
    assert!(OWN.iter().all(|it| scene.host.can_connect(&format!("{it}:8080"))));
}

#[test]
fn a_plane_that_is_switched_off_is_taken_down() {
    let Some(scene) = Scene::new("taken down") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    let attached = own_links(&scene.place());
    scene.wharf.kill9("daemon").unwrap();
    let _daemon = scene.wharf.daemon_with([("WHARF_NO_EBPF", "true")]).unwrap();
    assert!(scene.host.can_connect("127.0.0.1:8080"));
    let there = std::fs::read_dir(scene.place()).map_or(0, Iterator::count);
    assert_eq!(there, 0, "something is pinned");
    are_gone(attached);
}

#[test]
fn after_the_end_nothing_of_ours_is_left() {
    let Some(scene) = Scene::new("left") else { return };
    let come_and_go = || {
        scene.whoami("web", ["-p", "8080:80", "-p", "20000-29999:20000-29999"]);
        let attached = own_links(&scene.place());
        scene.wharf.ok(["rm", "-f", "web"]);
        scene.wharf.ok(["shutdown"]);
        attached
    };
    // Logs and locks stay from the first time on.
    let attached = come_and_go();
    let before = scene.wharf.snapshot().unwrap();
    come_and_go();
    scene.wharf.settles_to(&before, LIMIT).unwrap();
    let there = std::fs::read_dir(scene.place()).map_or(0, Iterator::count);
    assert_eq!(there, 0, "something is pinned");
    are_gone(attached);
}

/// The kernel lets go of links by and by once nothing refers to them any more.
fn are_gone(attached: Option<BTreeSet<u64>>) {
    let Some(attached) = attached else { return };
    let gone = || links().is_none_or(|now| now.is_disjoint(&attached));
    wait::until(LIMIT, "links that are gone", || gone().then_some(())).unwrap();
}
