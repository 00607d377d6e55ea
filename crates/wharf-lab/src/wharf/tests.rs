use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::sweep;
use crate::{Host, Lab, Wharf, can_run};

const LIMIT: Duration = Duration::from_secs(10);

/// Stands in for the program: it behaves as the verbs of these tests ask.
const PROGRAM: &str = r#"#!/bin/sh
case "$1" in
    where) readlink /proc/self/ns/net ;;
    dirs) echo "$WHARF_STATE_DIR $WHARF_RUN_DIR" ;;
    publish | unpublish) echo "$*" ;;
    explain | doctor) echo "[\"$*\"]"; exit 1 ;;
    ports) echo '[{"host":{"ports":"80"}},{"host":{"ports":"81"}}]' ;;
    list) echo "[\"$2\", \"$3\"]" ;;
    detach) setsid "$0" linger >/dev/null 2>&1 </dev/null & ;;
    hold) sleep 4 & ;;
    linger) echo x > "$WHARF_RUN_DIR/linger.pid"; sleep 300 ;;
    group) mkdir -p "$2/child"; echo $$ > "$2/child/cgroup.procs"; sleep 300 ;;
    daemon) echo "no store" >&2; exit 1 ;;
    *) echo "unknown verb $1" >&2; exit 125 ;;
esac
"#;

fn instance(lab: &Lab) -> (Host, Wharf) {
    let program = lab.directory().join("wharf");
    if !program.exists() {
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let host = lab.host("host").unwrap();
    let wharf = host.wharf(&program).unwrap();
    (host, wharf)
}

/// Waits until a process that lingers has come to do nothing but that.
fn lingers(wharf: &Wharf) {
    let sleeps = || wharf.processes().iter().any(|(_, command)| command == "sleep 300");
    crate::wait::until(LIMIT, "a sleeper", || sleeps().then_some(())).unwrap();
}

#[test]
fn the_program_runs_on_its_host_with_its_own_directories() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("own directories").unwrap();
    let (host, wharf) = instance(&lab);
    let inside = format!("net:[{}]", host.netns().identity().unwrap());
    assert_eq!(wharf.ok(["where"]), inside);
    let dirs = format!("{} {}", wharf.state_dir().display(), wharf.run_dir().display());
    assert_eq!(wharf.ok(["dirs"]), dirs);
    let second = host.wharf(lab.directory().join("wharf")).unwrap();
    assert_ne!(second.run_dir(), wharf.run_dir());
}

#[test]
fn failures_and_json_are_handed_back() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("failures").unwrap();
    let (_host, wharf) = instance(&lab);
    let failed = wharf.fails(["sing"]);
    assert_eq!((failed.code(), failed.stderr.as_str()), (125, "unknown verb sing\n"));
    assert_eq!(wharf.json(["list"]), serde_json::json!(["--format", "json"]));
    let error = format!("{:#}", wharf.daemon().unwrap_err());
    assert!(error.contains("no store"), "{error}");
}

#[test]
#[should_panic(expected = "still holds its output")]
fn output_held_by_a_process_left_behind_fails_the_test() {
    if !can_run() {
        panic!("skipped: still holds its output");
    }
    let lab = Lab::new("held").unwrap();
    let (_host, wharf) = instance(&lab);
    wharf.ok(["hold"]);
}

#[test]
fn a_process_left_behind_is_seen_and_ended_with_the_instance() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("left behind").unwrap();
    let (_host, wharf) = instance(&lab);
    let before = wharf.snapshot().unwrap();
    wharf.ok(["detach"]);
    lingers(&wharf);
    let found = before.differences(&wharf.snapshot().unwrap()).join("\n");
    assert!(found.contains("+ run directory: linger.pid"), "{found}");
    assert!(found.contains("+ processes: sleep 300"), "{found}");
    let directory = wharf.directory().to_owned();
    drop(wharf);
    assert_eq!(sweep::processes(&directory), []);
}

#[test]
fn killing_by_verb_settles_to_the_state_before() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("settles").unwrap();
    let (_host, wharf) = instance(&lab);
    let before = wharf.snapshot().unwrap().without("run directory");
    let mut lingering = wharf.spawn(["linger"]).unwrap();
    lingers(&wharf);
    let error = wharf.settles_to(&before, Duration::from_millis(50)).unwrap_err();
    assert!(format!("{error:#}").contains("+ processes: sleep 300"), "{error:#}");
    sweep::kill_all(wharf.directory()).unwrap();
    lingering.wait(LIMIT).unwrap();
    wharf.settles_to(&before, LIMIT).unwrap();
}

#[test]
fn cgroups_of_an_instance_are_seen_and_removed() {
    let writable = sweep::hierarchies().into_values().find_map(|root| {
        let group = root.join(format!("wharf-lab-{}", std::process::id()));
        fs::create_dir(&group).is_ok().then_some(group)
    });
    let (true, Some(group)) = (can_run(), writable) else {
        eprintln!("skipped: no cgroup can be made here");
        return;
    };
    let lab = Lab::new("cgroups").unwrap();
    let (_host, wharf) = instance(&lab);
    let before = wharf.snapshot().unwrap();
    let _held = wharf.spawn(["group", group.to_str().unwrap()]).unwrap();
    crate::wait::until(LIMIT, "the process in its cgroup", || {
        (!sweep::cgroups(wharf.directory()).is_empty()).then_some(())
    })
    .unwrap();
    let found = before.differences(&wharf.snapshot().unwrap()).join("\n");
    assert!(found.contains(&format!("+ cgroups: {}/child", group.display())), "{found}");
    drop(wharf);
    assert!(!group.exists());
}

#[test]
fn verbs_for_what_is_published_are_put_into_words() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("verbs").unwrap();
    let (_host, wharf) = instance(&lab);
    let said = wharf.publish("web", &["8080:80", "81"], &["--via", "relay"]);
    assert_eq!(said, "publish --via relay web 8080:80 81");
    assert_eq!(wharf.unpublish("web", &["--all"]), "unpublish web --all");
    assert_eq!(wharf.ports_at("81"), [serde_json::json!({ "host": { "ports": "81" } })]);
    let explained = wharf.explain("80/udp", Some("host"));
    let line = "explain 80/udp --from host --format json";
    assert_eq!(explained, (1, serde_json::json!([line])));
    assert_eq!(wharf.doctor(), (1, serde_json::json!(["doctor --format json"])));
}
