//! Logs: rotation, times, and those of terminals.

use std::time::Duration;

use super::site::{LIMIT, Site};

#[test]
fn a_log_is_rotated_and_a_follower_misses_nothing() {
    let Some(site) = Site::new("rotation") else { return };
    let script = "i=0; echo line 0; while ! [ -e /go ]; do sleep 0.05; done; \
                  while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; [ $((i % 100)) -ne 0 ] || sleep 0.1; done";
    let flags = ["-d", "--name", "box", "--log-opt", "max-size=20k", "--log-opt", "max-file=3"];
    site.wharf.ok(site.run_line(&flags, &["sh", "-c", script]));
    let mut following = site.wharf.spawn(["logs", "-f", "box"]).unwrap();
    following.wait_for("line 0", LIMIT).unwrap();
    site.wharf.lets_go("box", "/go");
    let output = following.output(LIMIT).unwrap();
    let wanted = |from: u32| (from..=3000).map(|number| format!("line {number}"));
    assert!(output.stdout.lines().eq(wanted(0)), "{} lines", output.stdout.lines().count());

    site.becomes("box", "exited");
    let path = site.wharf.inspect("box")["LogPath"].as_str().unwrap().to_owned();
    let names = [path.clone(), format!("{path}.1"), format!("{path}.2")];
    for name in &names {
        let size = std::fs::metadata(name).unwrap().len();
        assert!(size <= 20_000, "{name}: {size}");
    }
    assert!(!std::path::Path::new(&format!("{path}.3")).exists());
    let kept = site.wharf.ok(["logs", "box"]);
    let first: u32 = kept.lines().next().unwrap()["line ".len()..].parse().unwrap();
    assert!(first > 1 && kept.lines().eq(wanted(first)));
    assert_eq!(site.wharf.ok(["logs", "-n", "600", "box"]).lines().count(), 600);
    let config = &site.wharf.inspect("box")["HostConfig"]["LogConfig"];
    assert_eq!(
        (&config["Type"], &config["Config"]["max-file"]),
        (&"json-file".into(), &"3".into())
    );

    // The next start goes on in the same log, and everything goes with the container.
    site.wharf.ok(["rm", "box"]);
    assert!(names.iter().all(|name| !std::path::Path::new(name).exists()));
}

#[test]
fn lines_are_chosen_by_their_time() {
    let Some(site) = Site::new("since") else { return };
    let script = "echo old; while ! [ -e /go ]; do sleep 0.05; done; echo new; sleep 1000";
    site.wharf.ok(site.run_line(&["-d", "--name", "box"], &["sh", "-c", script]));
    let logs = |args: &[&str]| site.wharf.ok([&["logs"], args, &["box"]].concat());
    wharf_lab::wait::until(LIMIT, "the first line", || (logs(&[]) == "old").then_some(())).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let between = jiff::Timestamp::now().to_string();
    std::thread::sleep(Duration::from_millis(20));
    site.wharf.lets_go("box", "/go");
    wharf_lab::wait::until(LIMIT, "the second", || (logs(&[]) == "old\nnew").then_some(()))
        .unwrap();
    assert_eq!(logs(&["--since", &between]), "new");
    assert_eq!(logs(&["--until", &between]), "old");
    assert_eq!(logs(&["--since", "1h"]), "old\nnew");
    assert_eq!(logs(&["--until", "1h"]), "");
    assert_eq!(logs(&["--since", "2000-01-01", "-n", "1"]), "new");
    assert_eq!(logs(&["--until", &between, "-n", "1"]), "old");
    // A follower leaves when there will be nothing more for it.
    let output = site.wharf.spawn(["logs", "-f", "--until", &between, "box"]).unwrap();
    assert_eq!(output.output(LIMIT).unwrap().stdout, "old\n");
}

#[test]
fn what_a_terminal_has_shown_is_logged_as_output() {
    let Some(site) = Site::new("tty log") else { return };
    let flags = ["-dt", "--name", "box"];
    site.wharf.ok(site.run_line(&flags, &["sh", "-c", "echo out; echo err >&2; printf end"]));
    site.becomes("box", "exited");
    let output = site.wharf.run(["logs", "box"]).unwrap();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\r\nerr\r\nend", ""));
}
