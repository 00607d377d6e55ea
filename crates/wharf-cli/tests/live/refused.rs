//! What is refused, with the words and the code, and that nothing has changed.

use super::scene::Scene;

/// The line, the exit code, and what it says.
type Row<'a> = (&'a [&'a str], i32, &'a [&'a str]);

fn two(name: &str) -> Option<Scene> {
    let scene = Scene::new(name)?.without_engines();
    scene.whoami("web", ["-p", "8080:80"]);
    scene.whoami("other", []);
    scene.wharf.ok(["create", "--name", "idle", "wharf/whoami"]);
    Some(scene)
}

/// Every line is refused as it says, and afterwards everything is as before.
#[track_caller]
fn refuses(scene: &Scene, rows: &[Row<'_>]) {
    let (before, known) = (scene.wharf.snapshot().unwrap(), scene.published());
    let mut wrong = Vec::new();
    for (line, code, says) in rows {
        let output = scene.wharf.run(*line).unwrap();
        let is_said = says.iter().all(|text| output.stderr.contains(text));
        if output.code() != *code || !is_said || !output.stdout.is_empty() {
            wrong.push(format!("{line:?} is to end with {code} and say {says:?}:\n{output:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(scene.published(), known);
    scene.wharf.settles_to(&before, super::scene::LIMIT).unwrap();
}

#[test]
fn a_target_that_is_not_there() {
    let Some(scene) = two("no target") else { return };
    refuses(
        &scene,
        &[
            (&["publish", "nobody", "9000:80"], 1, &["nobody"]),
            (&["unpublish", "nobody", "--all"], 1, &["nobody"]),
            (&["publish", "idle", "9000:80"], 1, &["idle", "not running"]),
            (&["publish", "netns:/run/netns/nobody", "9000:80"], 1, &["/run/netns/nobody"]),
            (&["publish", "netns:/etc/passwd", "9000:80"], 1, &["/etc/passwd", "namespace"]),
            (&["publish", "netns:relative", "9000:80"], 1, &["relative"]),
            (&["publish", "addr:nonsense", "9000:80"], 1, &["nonsense"]),
            (&["publish", "addr:0.0.0.0", "9000:80"], 1, &["0.0.0.0"]),
            (&["publish", "netns:/proc/self/ns/net", "9000:80"], 1, &["this host's own network"]),
            (&["publish", "docker:nobody", "9000:80"], 1, &["docker is not running", "SOCKET"]),
            (&["publish", "podman:nobody", "9000:80"], 1, &["podman is not running", "SOCKET"]),
        ],
    );
}

#[test]
fn a_spec_that_makes_no_sense() {
    let Some(scene) = two("specs") else { return };
    refuses(
        &scene,
        &[
            (&["publish", "web", "9000:80/sctp"], 1, &["sctp"]),
            (&["publish", "web", "9000:80:90:100"], 1, &["invalid IP address: 9000:80"]),
            (&["publish", "web", "99999:80"], 1, &["99999"]),
            (&["publish", "web", "9000-9001:80-89"], 1, &["9000-9001"]),
            (&["publish", "web", "9000:80", "--allow", "10.1.0.0/99"], 1, &["10.1.0.0/99"]),
            (&["publish", "web", "9000:80", "--via", "carrier-pigeon"], 2, &["carrier-pigeon"]),
            (&["publish", "web", "9000:80", "--source", "moon"], 2, &["moon"]),
            (&["publish", "web", "9000:80", "--proxy-protocol", "v3"], 2, &["v3"]),
            (&["publish", "web", "9000:80/udp", "--proxy-protocol", "v1"], 1, &["proxy"]),
            (&["publish", "web"], 2, &["SPEC"]),
            (&["unpublish", "web"], 2, &["SPEC"]),
            (&["unpublish", "web", "8080:80", "--drain", "soon"], 2, &["soon"]),
        ],
    );
}

#[test]
fn a_port_that_somebody_has() {
    let Some(scene) = two("holders") else { return };
    let _tcp = scene.host.tcp_listen("0.0.0.0:8090").unwrap();
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let this = format!("({}, pid {})", name.trim(), std::process::id());
    let allocated = "Bind for 0.0.0.0:8080 failed: port is already allocated (container web)";
    let foreign = format!("Bind for 0.0.0.0:8090 failed: port is already allocated {this}");
    refuses(
        &scene,
        &[
            (&["publish", "other", "8080:80"], 1, &[allocated]),
            (&["publish", "other", "127.0.0.1:8080:80"], 1, &["(container web)"]),
            (&["publish", "other", "8090:80"], 1, &[&foreign]),
            // All of a line or nothing of it.
            (&["publish", "other", "9000:80", "8090:80"], 1, &[&foreign]),
            (&["publish", "other", "9000:80", "9000:81"], 1, &["9000"]),
        ],
    );
}

#[test]
fn a_hand_over_from_somebody_who_does_not_have_the_port() {
    let Some(scene) = two("replace") else { return };
    let _held = scene.host.tcp_listen("0.0.0.0:8090").unwrap();
    refuses(
        &scene,
        &[
            (&["publish", "--replace", "nobody", "other", "8080:80"], 1, &["nobody"]),
            (&["publish", "--replace", "other", "other", "8080:80"], 1, &["other"]),
            (&["publish", "--replace", "web", "other", "9000:80"], 1, &["web", "9000"]),
            (&["publish", "--replace", "web", "other", "8090:80"], 1, &["8090"]),
            (&["publish", "--replace", "web", "idle", "8080:80"], 1, &["idle", "not running"]),
        ],
    );
    scene.answers("tcp", 8080, "web");
}

#[test]
fn what_is_not_published_cannot_be_taken_back() {
    let Some(scene) = two("not published") else { return };
    refuses(
        &scene,
        &[
            (&["unpublish", "web", "9000:80"], 1, &["9000:80", "web"]),
            (&["unpublish", "web", "8080:80/udp"], 1, &["8080:80/udp"]),
            (&["unpublish", "web", "8080:81"], 1, &["8080:81"]),
            (&["unpublish", "other", "8080:80"], 1, &["other"]),
            // All of a line or nothing of it.
            (&["unpublish", "web", "8080:80", "9000:80"], 1, &["9000:80"]),
        ],
    );
    scene.answers("tcp", 8080, "web");
}

#[test]
fn a_port_that_would_lead_to_itself() {
    let Some(scene) = two("loop") else { return };
    refuses(
        &scene,
        &[
            (&["publish", "addr:127.0.0.1", "9000:9000"], 1, &["9000"]),
            (&["publish", "addr:10.1.0.2", "9000:9000"], 1, &["9000"]),
        ],
    );
    // By way of another, and back.
    scene.wharf.publish("addr:127.0.0.1", &["9001:9002", "9100-9109:9200-9209"], &[]);
    scene.wharf.publish("addr:10.1.0.2", &["127.0.0.1:9002:9003"], &[]);
    let to_itself = &["lead to itself by way of port"][..];
    refuses(
        &scene,
        &[
            (&["publish", "addr:127.0.0.1", "9003:9001"], 1, to_itself),
            (&["publish", "addr:127.0.0.1", "9200-9209:9100-9109"], 1, to_itself),
            (&["publish", "addr:127.0.0.1", "9205:9105"], 1, to_itself),
        ],
    );
    // Not every way round this host is a loop.
    scene.wharf.publish("addr:127.0.0.1", &["9003:8080", "9200-9209:9101-9110"], &[]);
    scene.answers("tcp", 9001, "web");
}
