//! Faults of the container.

use super::scene::Scene;

/// A container of busybox that runs `script`.
fn shell(scene: &Scene, name: &str, port: &str, script: &str) -> bool {
    let Some(image) = scene.busybox_image() else { return false };
    scene.wharf.ok(["run", "-d", "--name", name, "-p", port, &image, "/bin/sh", "-c", script]);
    true
}

#[test]
fn nothing_that_listens_is_named_with_what_does() {
    let Some(scene) = Scene::new("nothing listens") else { return };
    scene.whoami("web", ["-p", "8080:81"]);
    let way = scene.by_remote("8080");
    let way =
        way.fails("listening", "nothing listens on 81/tcp in container web", "publish the port");
    assert!(way.hop("listening").contains("something listens on 80"), "{way:?}");
}

#[test]
fn a_server_on_loopback_only_is_named() {
    let Some(scene) = Scene::new("loopback only") else { return };
    if !shell(&scene, "db", "8080:80", "exec busybox httpd -f -p 127.0.0.1:80") {
        return;
    }
    let way = scene.once("8080", |way| way.hop("listening").contains("127.0.0.1"));
    let way = way.fails("listening", "loopback only (127.0.0.1:80)", "listen on 0.0.0.0");
    assert!(way.hop("target").starts_with("ok: container db"), "{way:?}");
    scene.wharf.ok(["rm", "-f", "db"]);
}

#[test]
fn a_container_that_is_stopped_is_named() {
    let Some(scene) = Scene::new("stopped") else { return };
    scene.whoami("web", ["-p", "8080:80"]);
    scene.wharf.ok(["stop", "web"]);
    let way =
        scene.by_remote("8080").fails("target", "container web is not running", "wharf start web");
    assert!(way.hop("publication").contains("while it runs"), "{way:?}");
    scene.again(&["start"], "web");
    scene.by_remote("8080").works();
}

#[test]
fn a_cable_that_is_down_inside_is_named() {
    let Some(scene) = Scene::new("cable") else { return };
    let inside = scene.whoami("web", ["-p", "8080:80"]);
    let mut links = wharf_host::link::Links::open_in(inside.netns()).unwrap();
    links.set_down("eth0").unwrap();
    let way = scene.by_remote("8080");
    assert_eq!(way.code, 1, "{way:?}");
    assert!(["veth", "target"].contains(&way.fails_at()), "{way:?}");
}
