//! What is published live outlives what may die.

use super::scene::{LIMIT, Scene};

fn published(name: &str) -> Option<Scene> {
    let scene = Scene::new(name)?;
    scene.whoami("web", ["-p", "8079:80"]);
    scene.wharf.publish("web", &["8080:80", "8080:80/udp"], &[]);
    scene.wharf.publish("web", &["8081:80"], &["--allow", "10.1.0.0/24"]);
    everything_answers(&scene);
    Some(scene)
}

#[track_caller]
fn everything_answers(scene: &Scene) {
    scene.answers("tcp", 8079, "web");
    scene.answers("tcp", 8080, "web");
    scene.answers("udp", 8080, "web");
    assert_eq!(scene.remote.told("tcp", "10.1.0.2:8081").unwrap().hostname, "web");
    assert!(scene.remote.told("tcp", "[fd01::2]:8081").is_err(), "the allow-list was lost");
    assert_eq!(scene.published(), ["8079/tcp", "8080/tcp", "8080/udp", "8081/tcp"]);
}

#[test]
fn a_restart_of_the_container_keeps_its_ports() {
    let Some(scene) = published("restart") else { return };
    scene.again(&["restart", "-t", "0"], "web");
    everything_answers(&scene);
    scene.wharf.ok(["stop", "-t", "0", "web"]);
    assert!(!scene.remote.can_connect("10.1.0.2:8080"));
    scene.again(&["start"], "web");
    everything_answers(&scene);
}

#[test]
fn a_killed_daemon_finds_its_ports_again() {
    let Some(scene) = published("daemon") else { return };
    let prober = scene.remote.probe("tcp", "10.1.0.2:8080", 200).unwrap();
    for _ in 0..3 {
        scene.wharf.kill9("daemon").unwrap();
        prober.answers(20, LIMIT).unwrap();
        scene.wharf.ok(["ps"]);
    }
    let seen = prober.stop().unwrap();
    assert!(seen.is_flawless(), "{seen}");
    everything_answers(&scene);
    scene.wharf.unpublish("web", &["8080:80"]);
    scene.is_closed("tcp", 8080);
}

#[test]
fn a_daemon_that_was_asked_to_end_finds_its_ports_again() {
    let Some(scene) = published("shutdown") else { return };
    scene.wharf.ok(["shutdown"]);
    everything_answers(&scene);
    scene.again(&["restart", "-t", "0"], "web");
    everything_answers(&scene);
}

#[test]
fn a_killed_relay_comes_back_with_its_ports() {
    let Some(scene) = published("relay") else { return };
    scene.wharf.kill9("relay").unwrap();
    wharf_lab::wait::until(LIMIT, "the next relay", || {
        scene.host.told("tcp", "127.0.0.1:8080").is_ok().then_some(())
    })
    .unwrap();
    everything_answers(&scene);
}

#[test]
fn a_removed_container_takes_its_ports_along() {
    let Some(scene) = published("removed") else { return };
    scene.wharf.ok(["rm", "-f", "web"]);
    assert!(scene.published().is_empty());
    scene.is_closed("tcp", 8080);
    // Its name is another container's now, which was never asked to be published.
    scene.whoami("web", []);
    assert!(scene.published().is_empty());
}

#[test]
fn a_namespace_stays_published_without_the_daemon() {
    let Some(scene) = Scene::new("island daemon") else { return };
    let island = scene.lab.host("island").unwrap();
    let mut command = std::process::Command::new("/bin/sleep");
    command.arg("600");
    let keeper = island.spawn(command).unwrap();
    let _teller = island.tell(&[80]).unwrap();
    let target = format!("netns:/proc/{}/ns/net", keeper.pid());
    scene.wharf.publish(&target, &["8080:80", "8080:80/udp"], &[]);
    scene.wharf.kill9("daemon").unwrap();
    scene.answers("tcp", 8080, "island");
    scene.wharf.ok(["ps"]);
    assert_eq!(scene.published(), ["8080/tcp", "8080/udp"]);
    scene.answers("tcp", 8080, "island");
    scene.answers("udp", 8080, "island");
}

#[test]
fn what_was_taken_back_stays_away() {
    let Some(scene) = published("away") else { return };
    scene.wharf.unpublish("web", &["8079:80", "8080:80/udp"]);
    scene.wharf.kill9("daemon").unwrap();
    scene.again(&["restart", "-t", "0"], "web");
    assert_eq!(scene.published(), ["8080/tcp", "8081/tcp"]);
    assert!(!scene.remote.can_connect("10.1.0.2:8079"));
    scene.answers("tcp", 8080, "web");
}
