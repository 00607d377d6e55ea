//! `wharf logs`.

use std::time::Duration;

use super::site::{LIMIT, Site};

#[test]
fn logs_keep_both_streams_apart_and_count_lines_from_the_end() {
    let Some(site) = Site::new("logs") else { return };
    // Two pipes have no common order: each waits until the other's line is in the log.
    let script = "until_there() { until [ -e $1 ]; do sleep 0.05; done; }; \
                  echo a; until_there /a; echo b >&2; until_there /b; echo c; printf d; exit 0";
    site.detached("box", script);
    for line in ["a", "b"] {
        site.said("box", &format!("{line}\n"));
        site.wharf.lets_go("box", &format!("/{line}"));
    }
    site.becomes("box", "exited");
    let logs = |args: &[&str]| {
        let output = site.wharf.run([&["logs"], args, &["box"]].concat()).unwrap();
        assert!(output.is_success(), "{output:?}");
        (output.stdout, output.stderr)
    };
    let all = |out: &str, err: &str| (out.to_owned(), err.to_owned());
    assert_eq!(logs(&[]), all("a\nc\nd", "b\n"));
    assert_eq!(logs(&["--tail", "2"]), all("c\nd", ""));
    assert_eq!(logs(&["-n", "0"]), all("", ""));
    assert_eq!(logs(&["--tail", "all"]), all("a\nc\nd", "b\n"));
    site.refused(&["logs", "--tail", "few", "box"], 1, "few");
    site.refused(&["logs", "nobody"], 1, "no such container: nobody");

    let (stamped, _) = logs(&["-t", "-n", "2"]);
    for line in stamped.lines() {
        let (time, text) = line.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'), "{line}");
        assert!(["c", "d"].contains(&text), "{line}");
    }
}

#[test]
fn following_a_log_ends_with_the_container() {
    let Some(site) = Site::new("follow") else { return };
    site.detached("box", "echo first; while ! [ -e /go ]; do sleep 0.05; done; echo last");
    let mut following = site.wharf.spawn(["logs", "-f", "box"]).unwrap();
    following.wait_for("first", LIMIT).unwrap();
    assert!(following.is_running());
    site.wharf.lets_go("box", "/go");
    let output = following.output(LIMIT).unwrap();
    assert_eq!((output.code(), output.stdout.as_str()), (0, "first\nlast\n"));
    // A container that has ended has no more to say.
    let output = site.wharf.spawn(["logs", "-f", "box"]).unwrap().output(LIMIT).unwrap();
    assert_eq!(output.stdout, "first\nlast\n");
}

#[test]
fn a_long_line_and_bytes_that_are_no_text_stay_as_they_are() {
    let Some(site) = Site::new("long lines") else { return };
    site.detached("long", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end");
    site.becomes("long", "exited");
    let log = site.wharf.ok(["logs", "long"]);
    assert!(log == format!("{}\nend", "x".repeat(100_000)), "{} bytes", log.len());
    let ended = site.wharf.json(["ps", "-a"])[0]["exit_code"].clone();
    assert_eq!(ended, 0);

    // Docker's log format is JSON, which knows only text.
    site.detached("odd", "printf 'gr\\303\\274n\\n'; printf 'a\\000b\\n'");
    site.becomes("odd", "exited");
    assert_eq!(site.wharf.ok(["logs", "odd"]), "grün\na\0b");

    site.wharf.ok(["create", "--name", "never", &site.image(), "true"]);
    let before = std::time::Instant::now();
    assert_eq!(site.wharf.ok(["logs", "-f", "never"]), "");
    assert!(before.elapsed() < Duration::from_secs(5));
}
