//! `--stop-signal`, `--stop-timeout`, and files of variables and ids.

use std::time::{Duration, Instant};

use super::site::Site;

#[test]
fn a_container_is_stopped_by_the_signal_it_was_told() {
    let Some(site) = Site::new("stop signal") else { return };
    let script = "trap 'exit 6' USR1; trap 'exit 7' TERM; echo set; while :; do sleep 0.02; done";
    site.ok(&["-d", "--name", "box", "--stop-signal", "SIGUSR1"], &["sh", "-c", script]);
    site.said("box", "set");
    site.wharf.ok(["stop", "box"]);
    let found = site.wharf.inspect("box");
    assert_eq!(found["State"]["ExitCode"], 6);
    assert_eq!(found["Config"]["StopSignal"], "SIGUSR1");
    let line = ["run", "--stop-signal", "NOPE", &site.image(), "true"];
    site.refused(&line, 125, "invalid signal: NOPE");
}

#[test]
fn real_time_signals_are_sent_by_name_and_by_number() {
    let Some(site) = Site::new("real-time signals") else { return };
    let script = "trap 'echo three' 37; trap 'echo last' 63; trap 'exit 8' 34; echo set
        while :; do sleep 0.02; done";
    for (name, init) in [("plain", &[][..]), ("watched", &["--init"])] {
        let flags = [&["-d", "--name", name, "--stop-signal", "RTMIN"], init].concat();
        site.ok(&flags, &["sh", "-c", script]);
        site.said(name, "set");
        for (signal, text) in [("SIGRTMIN+3", "set\nthree\n"), ("63", "set\nthree\nlast\n")] {
            site.wharf.ok(["kill", "-s", signal, name]);
            site.said(name, text);
        }
        site.wharf.ok(["stop", name]);
        assert_eq!(site.wharf.inspect(name)["State"]["ExitCode"], 8, "{name}");
    }
    // The first process of a container is not ended by what it does not handle; one behind an
    // init is.
    site.ok(&["-d", "--name", "box", "--init"], &["sh", "-c", "echo set; exec sleep 1000"]);
    site.said("box", "set");
    site.wharf.ok(["kill", "-s", "RTMAX-1", "box"]);
    site.becomes("box", "exited");
    assert_eq!(site.wharf.inspect("box")["State"]["ExitCode"], 128 + 63);
    site.refused(&["kill", "-s", "RTMAX-31", "box"], 1, "invalid signal: RTMAX-31");
}

#[test]
fn a_container_has_the_time_it_was_told() {
    let Some(site) = Site::new("stop timeout") else { return };
    let script = "trap '' TERM; echo set; while :; do sleep 0.02; done";
    site.ok(&["-d", "--name", "box", "--stop-timeout", "1"], &["sh", "-c", script]);
    site.said("box", "set");
    let before = Instant::now();
    site.wharf.ok(["stop", "box"]);
    let took = before.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(site.wharf.inspect("box")["State"]["ExitCode"], 137);
}

#[test]
fn variables_and_labels_come_from_files_and_what_is_said_wins() {
    let Some(site) = Site::new("env file") else { return };
    let file = site.lab.directory().join("vars");
    std::fs::write(&file, "# numbers\nA=1\nB=two words\nC=\"3\"\n").unwrap();
    let path = file.display().to_string();
    let flags = ["--rm", "--env-file", &path, "-e", "A=9", "--label-file", &path];
    let output = site.run(&flags, "echo $A; echo $B; echo $C");
    assert_eq!(output.stdout, "9\ntwo words\n\"3\"\n");
    let gone = site.lab.directory().join("gone").display().to_string();
    site.refused(&["run", "--env-file", &gone, "x"], 125, "cannot read");
}

#[test]
fn the_id_is_written_to_a_file_that_was_not_there() {
    let Some(site) = Site::new("cidfile") else { return };
    let file = site.lab.directory().join("id");
    let path = file.display().to_string();
    let id = site.ok(&["-d", "--cidfile", &path], &["sleep", "1000"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    let line = ["run", "--cidfile", &path, &site.image(), "true"];
    site.refused(&line, 125, "container ID file found");
    let other = site.lab.directory().join("other").display().to_string();
    site.refused(&["run", "--cidfile", &other, "no-such-image"], 125, "no-such-image");
    assert!(!std::path::Path::new(&other).exists(), "nothing came of it");
}
