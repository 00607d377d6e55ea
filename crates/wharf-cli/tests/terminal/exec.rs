//! `wharf exec` with input and terminals.

use super::site::{LIMIT, Site};

#[test]
fn a_shell_in_a_container_has_what_was_asked_for() {
    let Some(site) = Site::new("exec tty") else { return };
    site.wharf.ok(site.run_line(&["-d", "--name", "box", "-e", "A=1"], &["sleep", "1000"]));
    let words =
        ["exec", "-it", "-u", "alice", "-w", "/srv", "-e", "PS1=in> ", "-e", "B=2", "box", "sh"];
    let mut shell = site.on_terminal(&words);
    shell.shows("in> ");
    shell.types("id -un; pwd; echo $A$B $TERM; stty size; tty\r");
    shell.shows("alice\r\n/srv\r\n12 xterm\r\n24 80\r\n/dev/pts/");
    shell.resize(50, 100);
    shell.types("while [ \"$(stty size)\" != '50 100' ]; do sleep 0.05; done; echo wi''der\r");
    shell.shows("wider\r\n");
    shell.types("echo wai''ting; sleep 1000\r");
    shell.shows("waiting\r\n");
    shell.types("\x03");
    shell.shows("^C");
    shell.shows("in> ");
    shell.types("exit 12\r");
    assert_eq!(shell.ends(), 12);
    // The size is right at once, and nothing is left of the sessions.
    for _ in 0..3 {
        let mut size = site.on_terminal(&["exec", "-it", "box", "stty", "size"]);
        size.shows("24 80\r\n");
        assert_eq!(size.ends(), 0);
    }
    // Who hears of a command's end may be faster than its process is.
    wharf_lab::wait::until(LIMIT, "the end of every session", || {
        site.wharf.pids_of("shim-exec").is_empty().then_some(())
    })
    .unwrap();
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));
}

#[test]
fn input_is_piped_into_a_command_and_its_code_comes_back() {
    let Some(site) = Site::new("exec pipe") else { return };
    site.wharf.ok(site.run_line(&["-d", "--name", "box"], &["sleep", "1000"]));
    let output = site.script("echo in | wharf exec -i box sh -c 'cat; echo err >&2; exit 3'");
    assert_eq!((output.code(), output.stdout.as_str()), (3, "in\n"), "{output:?}");
    assert_eq!(output.stderr, "err\n");
    for (command, code) in [("/not/there", 127), ("/etc/passwd", 126)] {
        let output = site.script(&format!("echo in | wharf exec -i box {command}"));
        assert_eq!(output.code(), code, "{output:?}");
        assert!(output.stderr.contains(command), "{output:?}");
    }
    let output = site.script("echo in | wharf exec -i -u stranger box true");
    assert_eq!(output.code(), 125, "{output:?}");
    assert!(output.stderr.contains("unable to find user stranger"), "{output:?}");
}

#[test]
fn a_command_that_is_detached_from_goes_on() {
    let Some(site) = Site::new("exec detach") else { return };
    site.wharf.ok(site.run_line(&["-d", "--name", "box"], &["sleep", "1000"]));
    let script = "echo begun; while ! [ -e /go ]; do sleep 0.05; done; echo done > /done";
    let mut command =
        site.on_terminal(&["exec", "-it", "--detach-keys", "ctrl-d", "box", "sh", "-c", script]);
    command.shows("begun\r\n");
    command.types("\x04");
    assert_eq!(command.ends(), 0);
    site.wharf.lets_go("box", "/go");
    let waited = "while ! [ -s /done ]; do sleep 0.05; done; cat /done";
    assert_eq!(site.wharf.ok(["exec", "box", "sh", "-c", waited]), "done");
    // In the background from the start, with a terminal all the same.
    let script = "test -t 1 && echo tty > /tty; sleep 1000";
    assert_eq!(site.wharf.ok(["exec", "-dt", "box", "sh", "-c", script]), "");
    let waited = "while ! [ -s /tty ]; do sleep 0.05; done; cat /tty";
    assert_eq!(site.wharf.ok(["exec", "box", "sh", "-c", waited]), "tty");
    site.wharf.ok(["rm", "-f", "box"]);
    wharf_lab::wait::until(super::site::LIMIT, "the commands' end", || {
        site.wharf.pids_of("shim-exec").is_empty().then_some(())
    })
    .unwrap();
}
