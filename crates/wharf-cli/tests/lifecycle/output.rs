//! What a container writes is what is shown, byte for byte and at once.

use std::fs::{self, File};
use std::process::Command;

use super::site::{LIMIT, Site};

/// What `command` writes to standard output, by way of a file: collected output is text.
fn exact(site: &Site, command: &Command) -> Vec<u8> {
    let path = site.lab.directory().join("exact");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"exec "$@" > "$0""#]).arg(&path);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap());
    }
    File::create(&path).unwrap();
    let output = site.wharf.host().output(shell, LIMIT).unwrap();
    assert!(output.is_success(), "{output:?}");
    fs::read(&path).unwrap()
}

#[test]
fn binary_output_arrives_as_it_was_written() {
    let Some(site) = Site::new("binary") else { return };
    // Every pair of bytes, and thus every way not to be UTF-8 that two bytes can be.
    let mut binary: Vec<u8> = (0..=255).flat_map(|a| (0..=255).flat_map(move |b| [a, b])).collect();
    binary.extend_from_within(..);
    fs::write(site.rootfs.join("binary"), &binary).unwrap();

    let attached = exact(&site, &site.command(&["--rm"], "cat /binary"));
    assert!(attached == binary, "{} of {} bytes", attached.len(), binary.len());
    site.detached("box", "cat /binary");
    site.becomes("box", "exited");
    for args in [&["logs", "box"][..], &["logs", "-n", "5000", "box"]] {
        let logged = exact(&site, &site.wharf.command(args));
        assert!(logged == binary, "{args:?}: {} of {} bytes", logged.len(), binary.len());
    }
}

#[test]
fn a_long_line_is_not_cut_within_a_character() {
    let Some(site) = Site::new("characters") else { return };
    let line = format!("x{}", "€🦀é".repeat(20_000));
    fs::write(site.rootfs.join("line"), &line).unwrap();
    let attached = site.run(&["--name", "box"], "cat /line; echo");
    assert!(attached.stdout == format!("{line}\n"), "{} bytes", attached.stdout.len());

    // The log is Docker's format, and other readers of it know only its text.
    let path = site.wharf.inspect("box")["LogPath"].as_str().unwrap().to_owned();
    let log = fs::read_to_string(path).unwrap();
    assert!(!log.contains('\u{fffd}') && !log.contains("\"bytes\""));
}

#[test]
fn what_has_no_end_of_line_is_shown_while_the_container_runs() {
    let Some(site) = Site::new("prompt") else { return };
    let script = "until_there() { until [ -e $1 ]; do sleep 0.05; done; }; echo ready; \
                  printf 'Password: '; until_there /go; \
                  printf '\\r10 %%\\r20 %%'; until_there /end";
    let mut run = site.spawn(&["--name", "box"], script);
    let mut shown = |text: &str| {
        run.wait_for(text, LIMIT).unwrap();
        assert!(run.is_running());
    };
    shown("ready\nPassword: ");
    // Who is attached sees it at once, the log as soon as its line has waited for its end.
    site.said("box", "Password: ");
    assert_eq!(site.wharf.run(["logs", "box"]).unwrap().stdout, "ready\nPassword: ");
    site.wharf.lets_go("box", "/go");
    shown("\r10 %\r20 %");
    site.wharf.lets_go("box", "/end");
    let output = run.output(LIMIT).unwrap();
    assert_eq!((output.code(), output.stdout), (0, "ready\nPassword: \r10 %\r20 %".to_owned()));

    // It is one line, and its time is in front of it once.
    let stamped = site.wharf.ok(["logs", "-t", "-n", "1", "box"]);
    let (time, line) = stamped.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{stamped:?}");
    assert_eq!(line, "Password: \r10 %\r20 %");
}

#[test]
fn output_that_never_pauses_is_shown_before_its_line_ends() {
    let Some(site) = Site::new("no pause") else { return };
    let script = "while ! [ -e /go ]; do printf .; usleep 10000; done; echo end";
    let mut run = site.spawn(&["--name", "box"], script);
    run.wait_for("....", LIMIT).unwrap();
    assert!(run.is_running());
    site.wharf.lets_go("box", "/go");
    let output = run.output(LIMIT).unwrap();
    assert!(output.stdout.trim_start_matches('.') == "end\n", "{output:?}");
}
