//! Several at one container, streams that are chosen, and signals.

use rustix::process::Signal;

use super::site::{LIMIT, Site};

#[test]
fn several_clients_see_and_type_into_one_terminal() {
    let Some(site) = Site::new("several") else { return };
    let mut first = site.shell(&["--name", "box"]);
    let mut second = site.attached(&[], "box");
    let mut onlooker = site.attached(&["--no-stdin"], "box");
    assert!(!onlooker.is_raw());
    second.types("echo fr''om second\r");
    for client in [&mut first, &mut second, &mut onlooker] {
        client.shows("from second");
    }
    first.types("echo fr''om first\r");
    for client in [&mut first, &mut second, &mut onlooker] {
        client.shows("from first");
    }
    // One that goes is missed by nobody.
    second.types("\x10\x11");
    assert_eq!(second.ends(), 0);
    first.types("exit 6\r");
    assert_eq!(first.ends(), 6);
    assert_eq!(onlooker.ends(), 6);
}

#[test]
fn a_container_without_input_can_be_watched_and_signalled() {
    let Some(site) = Site::new("watched") else { return };
    let script = "trap 'echo got it; exit 9' INT; echo begun; while :; do sleep 0.05; echo .; done";
    let line = site.run_line(&["-d", "--name", "box"], &["sh", "-c", script]);
    site.wharf.ok(&line);
    let mut leaving = site.wharf.spawn(["attach", "--sig-proxy=false", "box"]).unwrap();
    leaving.wait_for(".", LIMIT).unwrap();
    leaving.signal(Signal::INT).unwrap();
    assert_eq!(leaving.output(LIMIT).unwrap().code(), 130);
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));

    let mut attached = site.wharf.spawn(["attach", "box"]).unwrap();
    attached.wait_for(".", LIMIT).unwrap();
    attached.signal(Signal::INT).unwrap();
    let output = attached.output(LIMIT).unwrap();
    assert_eq!(output.code(), 9, "{output:?}");
    assert!(output.stdout.contains("got it") && !output.stdout.contains("begun"), "{output:?}");
}

#[test]
fn only_the_streams_that_are_chosen_are_attached() {
    let Some(site) = Site::new("streams") else { return };
    let run = |flags: &[&str]| {
        let flags = [&["--rm"], flags].concat();
        let line = site.run_line(&flags, &["sh", "-c", "echo out; echo err >&2; exit 2"]);
        let output = site.wharf.run(line).unwrap();
        assert_eq!(output.code(), 2, "{output:?}");
        (output.stdout, output.stderr)
    };
    let both = |out: &str, err: &str| (out.to_owned(), err.to_owned());
    assert_eq!(run(&["-a", "stdout"]), both("out\n", ""));
    assert_eq!(run(&["-a", "STDERR"]), both("", "err\n"));
    assert_eq!(run(&["-a", "stdout", "-a", "stderr"]), both("out\n", "err\n"));
    assert_eq!(run(&["-a", "stdin", "-a", "stdout"]), both("out\n", ""));

    // With only its input attached, the id is all there is to show.
    let script = "id=$(echo fed | wharf run -i -a stdin --name fed $IMAGE cat) && wharf wait fed && \
                  wharf logs $id";
    let output = site.script(script);
    assert_eq!((output.code(), output.stdout.as_str()), (0, "0\nfed\n"), "{output:?}");
}
