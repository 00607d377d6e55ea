//! Terminals while the daemon is away.

use super::site::{LIMIT, Site};

#[test]
fn a_shell_outlives_a_killed_daemon_and_is_attached_again() {
    let Some(site) = Site::new("killed daemon tty") else { return };
    let mut shell = site.shell(&["--name", "box"]);
    let mut command = site.on_terminal(&["exec", "-it", "-e", "PS1=in> ", "box", "sh"]);
    command.shows("in> ");
    for round in 1..=2 {
        assert_eq!(site.wharf.kill9("daemon").unwrap(), 1);
        for client in [&mut shell, &mut command] {
            let answer = format!("round {round}\r\n24 80\r\n");
            client.types_until(&format!("echo ro''und {round}; stty size\r"), &answer);
        }
        // Both have started a daemon, and one of those gives way.
        wharf_lab::wait::until(LIMIT, "one new daemon", || {
            (site.wharf.pids_of("daemon").len() == 1).then_some(())
        })
        .unwrap();
    }
    command.types("exit 5\r");
    assert_eq!(command.ends(), 5);
    shell.types("exit 6\r");
    assert_eq!(shell.ends(), 6);
}

#[test]
fn a_pipe_into_a_container_outlives_a_killed_daemon() {
    let Some(site) = Site::new("killed daemon pipe") else { return };
    let script = "echo begun; while read -r line; do echo got $line; done; echo end; exit 3";
    let mut run =
        site.wharf.spawn(site.run_line(&["-i", "--name", "box"], &["sh", "-c", script])).unwrap();
    run.wait_for("begun", LIMIT).unwrap();
    site.wharf.kill9("daemon").unwrap();
    run.wait_for("attached again", LIMIT).unwrap();
    run.feed(b"one\ntwo\n").unwrap();
    let output = run.output(LIMIT).unwrap();
    assert_eq!(
        (output.code(), output.stdout.as_str()),
        (3, "begun\ngot one\ngot two\nend\n"),
        "{output:?}"
    );
    let word = "attached again by the next one: what was written meanwhile is in `wharf logs";
    assert!(output.stderr.contains(word), "{output:?}");
}

#[test]
fn output_alone_is_attached_to_again() {
    let Some(site) = Site::new("killed daemon output") else { return };
    let script = "echo begun; while ! [ -e /go ]; do sleep 0.05; done; echo end; exit 4";
    let line = site.run_line(&["--name", "box"], &["sh", "-c", script]);
    let mut run = site.wharf.spawn(line).unwrap();
    run.wait_for("begun", LIMIT).unwrap();
    site.wharf.kill9("daemon").unwrap();
    run.wait_for("attached again", LIMIT).unwrap();
    site.wharf.lets_go("box", "/go");
    let output = run.output(LIMIT).unwrap();
    assert_eq!((output.code(), output.stdout.as_str()), (4, "begun\nend\n"), "{output:?}");
}

#[test]
fn a_container_that_ends_while_there_is_no_daemon_gives_its_code_all_the_same() {
    let Some(site) = Site::new("ended meanwhile") else { return };
    let script = "echo begun; while ! [ -e /go ]; do sleep 0.05; done; exit 11";
    for flags in [&["--name", "plain"][..], &["-i", "--name", "fed"]] {
        let line = site.run_line(flags, &["sh", "-c", script]);
        let mut run = site.wharf.spawn(line).unwrap();
        run.wait_for("begun", LIMIT).unwrap();
        let name = flags.last().unwrap();
        let pid = site.wharf.inspect(name)["State"]["Pid"].as_i64().unwrap();
        run.signal(rustix::process::Signal::STOP).unwrap();
        site.wharf.kill9("daemon").unwrap();
        std::fs::write(format!("/proc/{pid}/root/go"), "").unwrap();
        wharf_lab::wait::until(LIMIT, "the shim's end", || {
            site.wharf.pids_of("shim").is_empty().then_some(())
        })
        .unwrap();
        run.signal(rustix::process::Signal::CONT).unwrap();
        assert_eq!(run.output(LIMIT).unwrap().code(), 11);
    }
}

#[test]
fn a_daemon_that_is_told_to_stop_says_so_and_the_terminal_is_as_it_was() {
    let Some(site) = Site::new("stopped daemon tty") else { return };
    let mut shell = site.shell(&["--name", "box"]);
    site.wharf.ok(["shutdown"]);
    shell
        .shows("the daemon stops; container \"box\" goes on: attach again with `wharf attach box`");
    assert_eq!(shell.ends(), 125);
    assert_eq!(site.wharf.pids_of("daemon"), [] as [i32; 0], "nobody has started another");
    let mut again = site.attached(&[], "box");
    again.types("echo st''ill\r");
    again.shows("still\r\n");
    again.types("exit\r");
    assert_eq!(again.ends(), 0);
}

#[test]
fn a_killed_shim_ends_the_terminal() {
    let Some(site) = Site::new("killed shim tty") else { return };
    let shell = site.shell(&["--name", "box"]);
    site.wharf.kill9("shim").unwrap();
    assert_eq!(shell.ends(), 137);
    site.becomes("box", "exited");
}
