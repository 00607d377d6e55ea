//! What cannot be had is refused before anything is made.

use super::site::Site;

#[test]
fn a_terminal_that_is_none_is_refused_with_dockers_words() {
    let Some(site) = Site::new("no tty") else { return };
    let image = site.image();
    for words in [&["run", "-it", image.as_str(), "sh"][..], &["exec", "-it", "box", "sh"]] {
        let output = site.wharf.fails(words);
        assert_eq!(output.code(), 125, "{output:?}");
        for text in [
            "the input device is not a TTY",
            "cannot attach stdin to a TTY-enabled container because stdin is not a terminal",
        ] {
            assert!(output.stderr.contains(text), "{output:?}");
        }
    }
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
    // In the background nobody needs one.
    site.wharf.ok(site.run_line(&["-dit", "--name", "box"], &["sh"]));
    let output = site.wharf.fails(["attach", "box"]);
    assert!(output.stderr.contains("the input device is not a TTY"), "{output:?}");
    let config = &site.wharf.inspect("box")["Config"];
    assert_eq!((&config["Tty"], &config["OpenStdin"]), (&true.into(), &true.into()));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let Some(site) = Site::new("refused options") else { return };
    let image = site.image();
    for (flags, text) in [
        (
            &["-d", "-a", "stdout"][..],
            "conflicting options: cannot specify both --attach and --detach",
        ),
        (&["-a", "stdlog"], "valid streams are STDIN, STDOUT and STDERR"),
        (&["--detach-keys", "abc"], "invalid detach keys (abc) provided"),
        (&["--log-driver", "syslog"], "log driver \"syslog\" is not available"),
        (&["--log-opt", "max-size"], "use NAME=VALUE"),
        (&["--log-opt", "max-size=few"], "invalid value for max-size: 'few'"),
        (&["--log-opt", "max-file=0"], "max-file cannot be less than 1"),
        (&["--log-opt", "compress=true"], "unknown log opt 'compress' for json-file log driver"),
    ] {
        let line = [&["run"], flags, &[image.as_str(), "true"]].concat();
        let output = site.wharf.fails(&line);
        assert_eq!(output.code(), 125, "{output:?}");
        assert!(output.stderr.contains(text), "{text}: {output:?}");
    }
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
    let output = site.wharf.fails(["start", "-a", "one", "two"]);
    assert!(output.stderr.contains("you cannot start and attach multiple containers at once"));
    let output = site.wharf.fails(["logs", "--since", "yesterday", "box"]);
    assert!(output.stderr.contains("invalid value \"yesterday\" for --since"), "{output:?}");
}
