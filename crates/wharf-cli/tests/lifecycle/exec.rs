//! `wharf exec`.

use super::site::{LIMIT, Site};

#[test]
fn a_command_in_a_container_gives_its_output_and_its_code() {
    let Some(site) = Site::new("exec") else { return };
    site.ok(&["-d", "--name", "box", "-e", "COLOUR=blue", "-h", "inside"], &["sleep", "1000"]);
    let output =
        site.wharf.run(["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 6"]).unwrap();
    assert_eq!(output.code(), 6);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(
        site.exec("box", "hostname; echo $COLOUR; tr '\\0' ' ' < /proc/1/cmdline"),
        "inside\nblue\nsleep 1000 "
    );
    let killed = site.wharf.run(["exec", "box", "sh", "-c", "kill -9 $$"]).unwrap();
    assert_eq!(killed.code(), 137);
    let long = site.exec("box", "seq 1 20000");
    assert_eq!(long.lines().count(), 20_000);
    assert_eq!(long.lines().last(), Some("20000"));
}

#[test]
fn a_command_that_cannot_be_executed_is_126_and_one_that_is_missing_127() {
    let Some(site) = Site::new("exec fails") else { return };
    site.detached("box", "sleep 1000");
    for (command, code) in
        [("/not/there", 127), ("notthere", 127), ("/etc/passwd", 126), ("/etc", 126)]
    {
        let output = site.wharf.fails(["exec", "box", command]);
        assert_eq!(output.code(), code, "{command}: {output:?}");
        assert!(output.stderr.contains(command), "{output:?}");
    }
    site.wharf.ok(["create", "--name", "idle", &site.image(), "true"]);
    let output = site.wharf.fails(["exec", "idle", "true"]);
    assert!(output.stderr.contains("is not running"), "{output:?}");
    site.refused(&["exec", "nobody", "true"], 125, "no such container: nobody");
    assert_eq!(site.wharf.state("box").as_deref(), Some("running"));
}

#[test]
fn environment_directory_and_user_of_a_command_can_be_chosen() {
    let Some(site) = Site::new("exec options") else { return };
    site.ok(&["-d", "--name", "box", "-e", "A=1", "-w", "/srv"], &["sleep", "1000"]);
    assert_eq!(site.exec("box", "echo $A; pwd; id -u"), "1\n/srv\n0");
    let exec = |flags: &[&str], script: &str| {
        site.wharf.ok([&["exec"], flags, &["box", "sh", "-c", script]].concat())
    };
    assert_eq!(exec(&["-e", "A=2", "-e", "B=3"], "echo $A $B"), "2 3");
    assert_eq!(exec(&["-w", "/tmp"], "pwd"), "/tmp");
    assert_eq!(
        exec(&["-u", "alice"], "id -u; id -g; id -G; echo $HOME"),
        "1000\n1001\n1001 29\n/home/alice"
    );
    assert_eq!(exec(&["-u", "1234:5678"], "id -u; id -g"), "1234\n5678");
    site.refused(&["exec", "-u", "stranger", "box", "true"], 125, "unable to find user stranger");
}

#[test]
fn a_command_is_held_as_tightly_as_the_container() {
    let Some(site) = Site::new("exec privileges") else { return };
    site.detached("box", "sleep 1000");
    let of = |pid: &str| site.exec("box", &format!("grep -E 'Cap|NoNewPrivs' /proc/{pid}/status"));
    assert_eq!(of("self"), of("1"));
    let spaces = "for n in pid mnt uts ipc net cgroup; do readlink /proc/PID/ns/$n; done; \
                  cat /proc/PID/cgroup";
    let of = |pid: &str| site.exec("box", &spaces.replace("PID", pid));
    assert_eq!(of("self"), of("1"), "the same namespaces and control groups");
}

#[test]
fn a_privileged_command_has_what_the_container_has_not() {
    let Some(site) = Site::new("exec privileged") else { return };
    site.detached("box", "sleep 1000");
    let mount = "mkdir -p /tmp/m; mount -t tmpfs none /tmp/m && echo mounted; \
                 grep CapBnd /proc/self/status";
    let plain = site.exec("box", mount);
    assert!(!plain.contains("mounted"), "{plain}");
    let exec = |flags: &[&str], script: &str| {
        site.wharf.ok([&["exec", "--privileged"], flags, &["box", "sh", "-c", script]].concat())
    };
    let privileged = exec(&[], mount);
    assert!(privileged.starts_with("mounted\n"), "{privileged}");
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = own.lines().find(|line| line.starts_with("CapBnd")).unwrap();
    assert_eq!(privileged.lines().last(), Some(bounding));
    // As at run, another user than root can get them and has none.
    let eff = exec(&["-u", "alice"], "grep CapEff /proc/self/status");
    assert!(eff.ends_with("0000000000000000"), "{eff}");
}

#[test]
fn a_detached_command_goes_on_by_itself() {
    let Some(site) = Site::new("exec detached") else { return };
    site.detached("box", "sleep 1000");
    let script = "while ! [ -e /go ]; do sleep 0.05; done; echo done > /done; sleep 1000";
    assert_eq!(site.wharf.ok(["exec", "-d", "box", "sh", "-c", script]), "");
    site.wharf.lets_go("box", "/go");
    assert_eq!(site.exec("box", "while ! [ -s /done ]; do sleep 0.05; done; cat /done"), "done");
    // It ends with the container.
    site.wharf.ok(["rm", "-f", "box"]);
    let left: Vec<_> =
        site.wharf.processes().into_iter().filter(|(_, it)| it.contains("sleep")).collect();
    assert_eq!(left, []);
}

#[test]
fn a_detached_command_outlives_the_daemon() {
    let Some(site) = Site::new("exec without daemon") else { return };
    site.detached("box", "sleep 1000");
    let script =
        "while ! [ -e /go ]; do sleep 0.05; done; echo heard; echo >&2 too; echo ok > /done";
    site.wharf.ok(["exec", "-d", "box", "sh", "-c", script]);
    site.wharf.kill9("daemon").unwrap();
    site.wharf.lets_go("box", "/go");
    let wait = "for i in $(seq 200); do [ -s /done ] && break; sleep 0.05; done; cat /done";
    assert_eq!(site.exec("box", wait), "ok");
}

#[test]
fn commands_do_not_hear_what_is_typed_at_a_daemon_in_the_foreground() {
    let Some(site) = Site::new("exec session") else { return };
    let daemon = site.wharf.daemon().unwrap();
    site.detached("box", "sleep 1000");
    let mut run = site.wharf.spawn(["exec", "box", "sh", "-c", "echo ready; sleep 1000"]).unwrap();
    run.wait_for("ready", LIMIT).unwrap();
    let commands = site.wharf.pids_of("shim-exec");
    assert_eq!(commands.len(), 1);
    assert_ne!(session_of(commands[0]), session_of(daemon.pid().try_into().unwrap()));
    daemon.stop().unwrap();
}

/// The session's number, which is 0 where its leader is outside of our process namespace: no type
/// that `getsid` answers with admits that.
fn session_of(pid: i32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_the_name) = stat.rsplit_once(')').unwrap();
    after_the_name.split_whitespace().nth(3).unwrap().parse().unwrap()
}
