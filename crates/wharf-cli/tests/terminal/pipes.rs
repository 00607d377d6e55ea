//! Standard input that is a pipe.

use std::io::Read;
use std::time::Duration;

use super::site::{LIMIT, Site};

/// Ten megabytes that no repetition makes look right.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..10 << 17).flat_map(|_| next().to_le_bytes()).collect()
}

#[test]
fn input_that_ends_ends_inside() {
    let Some(site) = Site::new("pipe") else { return };
    let output =
        site.script("printf 'a\\nb' | wharf run --rm -i $IMAGE sh -c 'cat; echo; echo end'");
    assert_eq!((output.code(), output.stdout.as_str()), (0, "a\nb\nend\n"), "{output:?}");
    let output = site.script("wharf run --rm -i $IMAGE cat < /dev/null");
    assert_eq!((output.code(), output.stdout.as_str()), (0, ""), "{output:?}");
    // Without -i there is none.
    let output = site.script("echo lost | wharf run --rm $IMAGE cat");
    assert_eq!((output.code(), output.stdout.as_str()), (0, ""), "{output:?}");
    // Keys that detach from a terminal are bytes here.
    let output = site.script("printf '\\020\\021x' | wharf run --rm -i $IMAGE od -c");
    assert!(output.stdout.contains("020 021   x"), "{output:?}");
}

#[test]
fn ten_megabytes_come_back_as_they_went() {
    let Some(site) = Site::new("ten megabytes") else { return };
    let dir = site.lab.directory();
    let (sent, back) = (dir.join("sent"), dir.join("back"));
    let noise = noise();
    std::fs::write(&sent, &noise).unwrap();
    site.wharf.ok(site.run_line(&["-d", "--name", "box"], &["sleep", "1000"]));
    for verb in ["run --rm -i $IMAGE", "exec -i box"] {
        let script = format!("wharf {verb} cat < {} > {}", sent.display(), back.display());
        let output = site.script(&script);
        assert!(output.is_success(), "{output:?}");
        assert!(std::fs::read(&back).unwrap() == noise, "{verb}");
    }
    // What a program has not read when it ends is nobody's.
    let output = site.script(&format!("wharf run --rm -i $IMAGE head -c 3 < {}", sent.display()));
    assert_eq!((output.code(), output.stdout.len() >= 3), (0, true));
}

#[test]
fn input_of_a_container_that_was_detached_from_stays_open() {
    let Some(site) = Site::new("open input") else { return };
    let script = "while read -r line; do echo got $line; done; echo end";
    site.wharf.ok(site.run_line(&["-di", "--name", "box"], &["sh", "-c", script]));
    for word in ["one", "two"] {
        let mut attached = site.wharf.spawn(["attach", "box"]).unwrap();
        attached.feed(format!("{word}\n").as_bytes()).unwrap();
        attached.wait_for(&format!("got {word}"), LIMIT).unwrap();
        attached.kill9().unwrap();
    }
    assert_eq!(site.wharf.ok(["logs", "box"]), "got one\ngot two");
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));
}

#[test]
fn input_ends_when_the_one_who_feeds_it_is_killed() {
    let Some(site) = Site::new("killed feeder") else { return };
    let line = site.run_line(&["-i", "--name", "box"], &["sh", "-c", "echo begun; cat; exit 8"]);
    let mut run = site.wharf.spawn(line).unwrap();
    run.wait_for("begun", LIMIT).unwrap();
    run.kill9().unwrap();
    site.becomes("box", "exited");
    assert_eq!(site.wharf.inspect("box")["State"]["ExitCode"], 8);
}

#[test]
fn a_reader_that_does_not_read_is_waited_for_with_bounded_memory() {
    let Some(site) = Site::new("backpressure") else { return };
    let (mut reader, writer) = std::io::pipe().unwrap();
    let script = r#"wharf run -i --name box --log-opt max-size=100k $IMAGE sh -c \
        'awk "BEGIN { for (i = 0; i < 10000; i++) printf \"%d %1000s\n\", i, \"\" }"; echo done >&2' \
        > /dev/fd/0 < /dev/null"#;
    let mut command = site.script_command(script);
    command.stdin(writer);
    let mut run = site.wharf.host().spawn(command).unwrap();
    site.becomes("box", "running");
    std::thread::sleep(Duration::from_secs(2));
    assert!(run.is_running() && !run.stderr().contains("done"), "{}", run.stderr());
    let [shim] = site.wharf.pids_of("shim")[..] else { panic!("one shim") };
    let status = std::fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
    // Of its own: what is mapped of a debug build is large, and shared.
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let own: u64 = own.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(own < 8 << 10, "the shim has {own} kB");

    // Everything was kept for it, though the log could not hold it.
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(run.wait(LIMIT).unwrap().code(), Some(0), "{}", run.stderr());
    drop(run);
    let text = reading.join().unwrap();
    assert!(text.lines().eq((0..10_000).map(|number| format!("{number} {:1000}", ""))));
}

#[test]
fn a_reader_who_comes_late_to_the_end_gets_it_while_the_container_is_gone() {
    let Some(site) = Site::new("late reader") else { return };
    let (mut reader, writer) = std::io::pipe().unwrap();
    let id = site.lab.directory().join("id");
    let mut command = site.script_command(&format!(
        "wharf run --rm --name box --cidfile {} $IMAGE seq 1 100000 > /dev/fd/0",
        id.display()
    ));
    command.stdin(writer);
    let run = site.wharf.host().spawn(command).unwrap();
    let gone = || {
        (site.wharf.state("box").is_none() && site.wharf.pids_of("shim").is_empty()).then_some(())
    };
    let made = || std::fs::read_to_string(&id).ok().filter(|id| !id.is_empty());
    wharf_lab::wait::until(LIMIT, "the container", made).unwrap();
    wharf_lab::wait::until(LIMIT, "the container's end", gone).unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert!(run.output(LIMIT).unwrap().is_success());
    assert!(reading.join().unwrap().lines().eq((1..=100_000).map(|n| n.to_string())));
}

#[test]
fn everything_arrives_although_the_log_forgets_it() {
    let Some(site) = Site::new("small log") else { return };
    let flags = ["--rm", "--log-opt", "max-size=1k", "--log-opt", "max-file=2"];
    let output = site.wharf.run(site.run_line(&flags, &["seq", "1", "20000"])).unwrap();
    assert!(output.stdout.lines().eq((1..=20_000).map(|n| n.to_string())), "{}", output.code());
}
