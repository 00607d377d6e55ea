//! `wharf run` in the foreground.

use rustix::process::Signal;

use super::site::{LIMIT, Site};

#[test]
fn output_is_kept_apart_and_the_exit_code_passes_through() {
    let Some(site) = Site::new("attached") else { return };
    let output = site.run(&[], "echo out; echo err >&2; exit 7");
    assert_eq!(output.code(), 7);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(site.run(&[], "exit 0").code(), 0);

    let long = site.run(&[], "seq 1 20000");
    let wanted: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert!(long.stdout == wanted, "{} of {} bytes", long.stdout.len(), wanted.len());
    assert_eq!(site.run(&[], "printf 'no end of line'").stdout, "no end of line");
}

#[test]
fn ctrl_c_reaches_the_container_and_its_code_comes_back() {
    let Some(site) = Site::new("ctrl-c") else { return };
    let waiting = "echo ready; while :; do sleep 0.05; done";
    for (signal, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let script = format!("trap 'echo got {name}; exit 33' {name}; {waiting}");
        let mut run = site.spawn(&["--rm"], &script);
        run.wait_for("ready", LIMIT).unwrap();
        run.signal(signal).unwrap();
        let output = run.output(LIMIT).unwrap();
        assert_eq!(output.code(), 33, "{output:?}");
        assert_eq!(output.stdout, format!("ready\ngot {name}\n"));
    }
}

#[test]
fn a_killed_container_ends_the_run_with_137() {
    let Some(site) = Site::new("killed") else { return };
    let mut run = site.spawn(&["--name", "victim"], "echo ready; sleep 1000");
    run.wait_for("ready", LIMIT).unwrap();
    site.wharf.ok(["kill", "victim"]);
    assert_eq!(run.output(LIMIT).unwrap().code(), 137);

    let mut run = site.spawn(&["--name", "removed"], "echo ready; sleep 1000");
    run.wait_for("ready", LIMIT).unwrap();
    site.wharf.ok(["rm", "-f", "removed"]);
    assert_eq!(run.output(LIMIT).unwrap().code(), 137);
}

#[test]
fn rm_removes_the_container_however_it_ends() {
    let Some(site) = Site::new("auto remove") else { return };
    assert_eq!(site.run(&["--rm"], "exit 3").code(), 3);
    assert_eq!(site.fails(&["--rm"], &["/not/there"]).code(), 127);
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");

    // When the verb has returned, the name is free.
    for number in 0..5 {
        let output = site.run(&["--rm", "--name", "same"], &format!("echo {number}; exit 4"));
        assert_eq!((output.code(), output.stdout), (4, format!("{number}\n")));
    }

    site.ok(&["-d", "--rm", "--name", "brief"], &["sleep", "1000"]);
    site.wharf.ok(["stop", "-t", "0", "brief"]);
    assert_eq!(site.wharf.state("brief"), None);
    let containers = site.wharf.state_dir().join("containers");
    assert_eq!(std::fs::read_dir(containers).unwrap().count(), 0, "files are left");
}

#[test]
fn a_command_that_cannot_run_ends_with_126_or_127() {
    let Some(site) = Site::new("no command") else { return };
    for (command, code) in
        [("/not/there", 127), ("notthere", 127), ("/etc/passwd", 126), ("/etc", 126)]
    {
        let output = site.fails(&[], &[command]);
        assert_eq!(output.code(), code, "{command}: {output:?}");
        assert!(output.stderr.contains(command), "{output:?}");
    }
    assert_eq!(site.wharf.pids_of("shim"), [] as [i32; 0], "no shim is left");
}

#[test]
fn what_wharf_itself_refuses_ends_with_125() {
    let Some(site) = Site::new("refused") else { return };
    site.refused(&["run", "--pull=never", "no/such/image"], 125, "no such image: no/such/image");
    site.refused(&["run", "dir:/no/such/place"], 125, "/no/such/place");
    let image = site.image();
    site.refused(&["run", &image], 125, "no command specified");
    site.refused(&["run", "--name", "a b", &image, "true"], 125, "a b");
    site.refused(&["run", "-w", "relative", &image, "true"], 125, "absolute path");
    site.refused(&["run", "-v", "/", &image, "true"], 125, "destination can't be '/'");
    site.refused(&["run", "-u", "stranger", &image, "true"], 125, "unable to find user stranger");
    site.detached("taken", "sleep 1000");
    site.refused(&["run", "--name", "taken", &image, "true"], 125, "is already in use");
    let left = site.wharf.json(["ps", "-a"]);
    let names: Vec<&str> =
        left.as_array().unwrap().iter().map(|it| it["image"].as_str().unwrap()).collect();
    assert!(names.len() <= 2, "only what could be made is kept: {left:#}");
}
