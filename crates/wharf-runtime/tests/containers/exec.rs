//! Commands in running containers.

use std::process::Stdio;

use wharf_host::process::Signal;
use wharf_runtime::client::exec_command;
use wharf_runtime::spec::ExecSpec;

use crate::support::{Fixture, PROGRAM, ended, has_busybox, processes_with, wait_for};

fn sleeper() -> Option<Fixture> {
    if !has_busybox() {
        return None;
    }
    let mut fixture = Fixture::busybox("sleep 1000");
    fixture.spec.env.push("OWN=1".to_owned());
    fixture.start();
    Some(fixture)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_command_joins_every_namespace_and_its_exit_code_comes_back() {
    let Some(fixture) = sleeper() else { return };
    let args = vec!["sh".to_owned(), "-c".to_owned(), "echo out; echo err >&2; exit 5".to_owned()];
    let output = fixture.exec(&ExecSpec { args, ..ExecSpec::default() });
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    for kind in ["net", "mnt", "pid", "ipc", "uts", "cgroup"] {
        let script = format!("readlink /proc/1/ns/{kind}; readlink /proc/self/ns/{kind}");
        let text = fixture.sh(&script);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{kind}: {text}");
    }
    assert!(fixture.sh("hostname").contains("box"));
    // It is in the container's control group: its end is the command's end.
    assert_eq!(fixture.sh("cat /proc/1/cgroup"), fixture.sh("cat /proc/self/cgroup"));
}

#[test]
fn environment_user_and_directory_are_the_containers_unless_said() {
    let Some(fixture) = sleeper() else { return };
    let exec = ExecSpec {
        args: vec!["sh".into(), "-c".into(), "echo $OWN $NEW; id; pwd; echo $HOME".into()],
        env: words("NEW=2"),
        workdir: Some("/tmp".to_owned()),
        user: Some("web".to_owned()),
        ..ExecSpec::default()
    };
    let output = fixture.exec(&exec);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "1 2\nuid=1000(web) gid=1001(web) groups=77(extra),1001(web)\n/tmp\n/home/web\n"
    );
    let text = fixture.sh("grep -E 'CapEff|NoNewPrivs|Groups' /proc/self/status");
    assert_eq!(text, fixture.sh("grep -E 'CapEff|NoNewPrivs|Groups' /proc/1/status"));
    assert!(text.contains("NoNewPrivs:\t0"), "{text}");
}

#[test]
fn what_cannot_be_executed_is_said_with_dockers_codes() {
    let Some(fixture) = sleeper() else { return };
    let cases = [
        ("nosuch", 127, "not found in $PATH"),
        ("/no", 127, "no such file"),
        ("/etc/passwd", 126, "permission denied"),
    ];
    for (command, code, text) in cases {
        let output = fixture.exec(&ExecSpec { args: words(command), ..ExecSpec::default() });
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(text), "{said}");
    }
    let exec =
        ExecSpec { args: words("id"), user: Some("nosuch".to_owned()), ..ExecSpec::default() };
    let output = fixture.exec(&exec);
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unable to find user nosuch"));
    for workdir in ["/nosuch", "/etc/passwd", "tmp"] {
        let workdir = Some(workdir.to_owned());
        let output = fixture.exec(&ExecSpec { args: words("id"), workdir, ..ExecSpec::default() });
        assert_eq!(output.status.code(), Some(127));
        assert!(String::from_utf8_lossy(&output.stderr).contains("chdir to cwd"));
    }
    let left: Vec<_> = std::fs::read_dir(fixture.run_dir())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("exec-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn standard_input_reaches_the_command() {
    let Some(fixture) = sleeper() else { return };
    let exec = ExecSpec { args: words("cat"), ..ExecSpec::default() };
    let mut command = exec_command(PROGRAM.as_ref(), &fixture.run_dir(), &exec).unwrap();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"hello").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"hello"[..]));
}

#[test]
fn a_command_ends_with_the_container_or_by_a_signal() {
    let Some(mut fixture) = sleeper() else { return };
    let exec = ExecSpec { args: words("sleep 999"), ..ExecSpec::default() };
    let spawn = || {
        let mut command = exec_command(PROGRAM.as_ref(), &fixture.run_dir(), &exec).unwrap();
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        wait_for("the command", || !processes_with("sleep 999").is_empty());
        child
    };
    let mut first = spawn();
    let pid = wharf_host::process::Pid::of(first.id()).unwrap();
    pid.signal(Signal::TERM).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(143));
    let mut second = spawn();
    let shim = wharf_runtime::client::Shim::adopt(&fixture.run_dir()).unwrap().unwrap();
    shim.kill(Signal::KILL).unwrap();
    assert_eq!(ended(&shim).code, 137);
    assert_eq!(second.wait().unwrap().code(), Some(137));
    let output = fixture.exec(&exec);
    assert_eq!(output.status.code(), Some(125), "the container is gone");
    fixture.nothing_left();
    fixture.spec.args = words("true");
    assert_eq!(fixture.run().0, 0);
}
