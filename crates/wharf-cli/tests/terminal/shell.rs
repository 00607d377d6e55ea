//! `wharf run -it`.

use super::site::Site;

#[test]
fn a_shell_has_a_terminal_of_its_own_with_the_size_of_ours() {
    let Some(site) = Site::new("shell") else { return };
    let mut shell = site.shell(&["--rm", "-u", "alice"]);
    assert!(shell.is_raw());
    shell.types("tty; stty size; echo $TERM; id -un\r");
    shell.shows("/dev/pts/0\r\n24 80\r\nxterm\r\nalice\r\n");
    shell.resize(40, 132);
    shell.types("while [ \"$(stty size)\" != '40 132' ]; do sleep 0.05; done; echo wi''der\r");
    shell.shows("wider\r\n");
    // Its user owns it, so that it can be opened by its name, and it is the console.
    shell.types("echo to the ter''minal > $(tty); ls -l /dev/console | cut -c1\r");
    shell.shows("to the terminal\r\nc\r\n");
    shell.types("exit 7\r");
    assert_eq!(shell.ends(), 7);
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
}

#[test]
fn the_size_is_right_from_the_first_moment() {
    let Some(site) = Site::new("first size") else { return };
    for _ in 0..3 {
        let mut run = site.on_terminal(&site.run_line(&["--rm", "-it"], &["stty", "size"]));
        run.shows("24 80\r\n");
        assert_eq!(run.ends(), 0);
    }
}

#[test]
fn ctrl_c_reaches_the_program_and_not_wharf() {
    let Some(site) = Site::new("ctrl-c tty") else { return };
    let mut shell = site.shell(&["--rm"]);
    // Whichever of its programs the key meets.
    let script = "while [ -z \"$got\" ]; do sleep 0.1; done";
    shell.types(&format!("trap 'got=1; echo caught' INT; echo wai''ting; {script}\r"));
    shell.shows("waiting\r\n");
    shell.types("\x03");
    shell.shows("caught\r\n");
    shell.types("echo go''ing; cat\r");
    shell.shows("going\r\n");
    shell.types("ech''oed?\r");
    shell.shows("ech''oed?\r\n");
    shell.types("\x04exit 3\r");
    assert_eq!(shell.ends(), 3);
}

#[test]
fn a_terminal_without_input_shows_output_and_takes_no_keys() {
    let Some(site) = Site::new("only -t") else { return };
    let words = site.run_line(&["--rm", "-t"], &["sh", "-c", "test -t 1 && stty size; exit 5"]);
    let output = site.wharf.run(&words).unwrap();
    assert_eq!(output.code(), 5, "{output:?}");
    assert!(output.stdout.ends_with("\r\n"), "{output:?}");
    let mut run = site.on_terminal(&words);
    assert!(!run.is_raw());
    run.shows("24 80");
    assert_eq!(run.ends(), 5);
}

#[test]
fn the_terminal_is_as_it_was_after_a_signal_and_the_container_goes_on() {
    let Some(site) = Site::new("signals tty") else { return };
    use rustix::process::Signal;
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let name = format!("box{code}");
        let shell = site.shell(&["--name", &name]);
        shell.process.signal(signal).unwrap();
        assert_eq!(shell.ends(), code);
        assert_eq!(site.wharf.state(&name).as_deref(), Some("running"));
    }
}

#[test]
fn a_program_that_cannot_run_leaves_the_terminal_alone() {
    let Some(site) = Site::new("no program") else { return };
    let mut run = site.on_terminal(&site.run_line(&["--rm", "-it"], &["/not/there"]));
    run.shows("/not/there");
    assert_eq!(run.ends(), 127);
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
}
