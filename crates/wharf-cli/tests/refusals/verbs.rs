//! Verbs on things that are not there or not in a state for it, and lines that are no lines.

use super::scene::{Row, Scene};

fn rows<'a>(code: i32, lines: &[(&'a str, &'a [&'a str])]) -> Vec<Row<'a>> {
    lines.iter().map(|(line, says)| Row { line: line.split(' ').collect(), code, says }).collect()
}

#[test]
fn a_container_that_is_not_there_is_named() {
    let Some(scene) = Scene::warm("no such container") else { return };
    let missing: &[&str] = &["no such container: nosuch"];
    scene.refuses(&rows(
        1,
        &[
            ("start nosuch", missing),
            ("stop nosuch", missing),
            ("restart nosuch", missing),
            ("kill nosuch", missing),
            ("rm nosuch", missing),
            ("wait nosuch", missing),
            ("logs nosuch", missing),
            ("port nosuch", missing),
            ("rmi nosuch", &["no such image: nosuch"]),
            ("network rm nosuch", &["no such network: nosuch"]),
            ("load -i /nosuch.tar", &["/nosuch.tar"]),
        ],
    ));
    scene.refuses(&rows(125, &[("exec nosuch true", missing)]));
    let failed = scene.wharf.fails(["inspect", "nosuch"]);
    let text = "no such container, image, network or volume: nosuch";
    assert!(failed.stderr.contains(text), "{failed:?}");
    assert_eq!((failed.code(), failed.stdout.trim()), (1, "[]"));
}

#[test]
fn a_running_container_is_not_removed_without_force() {
    let Some(scene) = Scene::warm("running") else { return };
    scene.wharf.ok(["run", "-d", "--name", "web", "-p", "8080:80", "wharf/whoami"]);
    let says = &["cannot remove container \"web\": container is running", "stop the container"];
    scene.refuses(&rows(
        1,
        &[
            ("rm web", says),
            (
                "kill -s NOPE web",
                &["invalid signal: NOPE: use a name such as TERM or RTMIN+3, or a number of 1-31 or 34-64"],
            ),
            ("kill -s 0 web", &["invalid signal: 0"]),
            ("port web 81", &["no public port '81' published for web"]),
            ("port web 80/udp", &["no public port '80/udp' published for web"]),
            ("rmi wharf/whoami", &["wharf/whoami"]),
        ],
    ));
    scene.refuses(&rows(
        125,
        &[(
            "run -d --name web wharf/whoami",
            &["the container name \"web\" is already in use by container"],
        )],
    ));
    assert!(scene.host.can_connect("127.0.0.1:8080"));
}

#[test]
fn a_stopped_container_takes_no_signal_and_no_command() {
    let Some(scene) = Scene::warm("stopped") else { return };
    scene.wharf.ok(["create", "--name", "web", "wharf/whoami"]);
    scene.refuses(&rows(
        1,
        &[("kill web", &["cannot kill container \"web\": container is not running"])],
    ));
    scene
        .refuses(&rows(125, &[("exec web /wharf version", &["container \"web\" is not running"])]));
}

#[test]
fn a_command_that_is_not_there_ends_with_127_and_one_that_cannot_run_with_126() {
    let Some(scene) = Scene::warm("commands") else { return };
    scene.refuses(&rows(
        127,
        &[
            ("run --rm -p 8080:80 --entrypoint /nosuch wharf/whoami", &["/nosuch"]),
            ("run --rm -d -p 8080:80 --entrypoint nosuch wharf/whoami", &["nosuch"]),
        ],
    ));
    scene.refuses(&rows(
        126,
        &[
            ("run --rm -p 8080:80 --entrypoint /etc/passwd wharf/whoami", &["/etc/passwd"]),
            ("run --rm -d -p 8080:80 --entrypoint /tmp wharf/whoami", &["/tmp"]),
        ],
    ));
    scene.wharf.ok(["run", "-d", "--name", "web", "wharf/whoami"]);
    scene.refuses(&rows(127, &[("exec web /nosuch", &["/nosuch"])]));
    scene.refuses(&rows(126, &[("exec web /etc/passwd", &["/etc/passwd"])]));
}

#[test]
fn a_user_that_is_not_there_is_refused() {
    let Some(scene) = Scene::warm("user") else { return };
    let line = "run --rm -d -p 8080:80 -u nosuch wharf/whoami";
    scene.refuses(&rows(125, &[(line, &["nosuch"])]));
}

#[test]
fn a_line_that_cannot_be_understood_ends_with_2() {
    let Some(scene) = Scene::new("usage") else { return };
    let lines: &[(&str, &[&str])] = &[
        ("frobnicate", &["frobnicate"]),
        ("run", &["IMAGE"]),
        ("run --nosuch wharf/whoami", &["--nosuch"]),
        ("run --ip nonsense wharf/whoami", &["nonsense"]),
        ("ps --format xml", &["xml"]),
        ("network create --gateway-mode nosuch net", &["nosuch"]),
        ("stop -t soon web", &["soon"]),
        ("exec web", &["COMMAND"]),
    ];
    for row in rows(2, lines) {
        let output = scene.wharf.run(&row.line).unwrap();
        assert_eq!(output.code(), 2, "{:?}: {output:?}", row.line);
        assert!(row.says.iter().all(|text| output.stderr.contains(text)), "{output:?}");
    }
    // Not even a daemon was started for it.
    assert_eq!(scene.wharf.processes(), []);
}

#[test]
fn every_name_is_tried_and_one_failure_fails_the_verb() {
    let Some(scene) = Scene::warm("several") else { return };
    for name in ["one", "two"] {
        scene.wharf.ok(["run", "-d", "--name", name, "wharf/whoami"]);
    }
    let failed = scene.wharf.fails(["stop", "-t", "0", "one", "nosuch", "two"]);
    assert_eq!((failed.code(), failed.stdout.as_str()), (1, "one\ntwo\n"));
    assert!(failed.stderr.contains("no such container: nosuch"), "{failed:?}");
    // By force, what is missing is removed already.
    let removed = scene.wharf.run(["rm", "-f", "one", "nosuch", "two"]).unwrap();
    assert!(removed.is_success(), "{removed:?}");
    assert_eq!(scene.wharf.json(["ps", "-a"]), serde_json::json!([]));
}

#[test]
fn an_empty_name_is_refused_even_by_force() {
    let Some(scene) = Scene::warm("empty name") else { return };
    for line in [&["rm", "-f", ""][..], &["stop", ""], &["rmi", ""], &["network", "rm", ""]] {
        let failed = scene.wharf.fails(line);
        assert_eq!(failed.code(), 1, "{line:?} {failed:?}");
        assert!(failed.stderr.contains("a name is empty"), "{line:?} {failed:?}");
    }
}
