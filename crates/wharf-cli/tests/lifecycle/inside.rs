//! What a container is allowed and what it sees.

use std::fs;

use super::site::Site;

#[test]
fn a_container_has_dockers_fourteen_capabilities() {
    let Some(site) = Site::new("capabilities") else { return };
    let status = site.ok(&["--rm"], &["cat", "/proc/self/status"]);
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    };
    let docker = "00000000a80425fb";
    let found = ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"].map(value);
    let none = "0000000000000000";
    assert_eq!(found, [docker, docker, docker, none, none]);
    assert_eq!(value("NoNewPrivs"), "0");
}

#[test]
fn kernel_interfaces_are_masked_or_read_only() {
    let Some(site) = Site::new("masked") else { return };
    site.detached("box", "sleep 1000");
    let exec = |script: &str| site.wharf.run(["exec", "box", "sh", "-c", script]).unwrap();
    for file in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        let script = format!("[ -e {file} ] || exit 0; head -c 1 {file} | wc -c");
        assert!(["", "0"].contains(&exec(&script).stdout.trim()), "{file} can be read");
    }
    for directory in ["/sys/firmware", "/proc/scsi", "/proc/acpi", "/sys/devices/virtual/powercap"]
    {
        let script = format!("[ -e {directory} ] || exit 0; ls -A {directory} | wc -l");
        assert!(["", "0"].contains(&exec(&script).stdout.trim()), "{directory} is not empty");
    }
    for file in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/irq/x", "/sys/x"] {
        let output = exec(&format!("echo x > {file}"));
        assert_ne!(output.code(), 0, "{file} can be written");
        assert!(
            ["Read-only file system", "nonexistent", "Permission denied"]
                .iter()
                .any(|text| output.stderr.contains(text)),
            "{file}: {output:?}"
        );
    }
    let mounts = exec("cat /proc/mounts").stdout;
    for place in ["/proc/sys", "/sys", "/sys/fs/cgroup"] {
        let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(place));
        let options = line.unwrap_or_else(|| panic!("{place} in {mounts}")).split(' ').nth(3);
        assert!(options.unwrap().starts_with("ro"), "{place} is writable: {line:?}");
    }
}

#[test]
fn devices_are_the_harmless_ones() {
    let Some(site) = Site::new("devices") else { return };
    site.detached("box", "sleep 1000");
    let exec = |script: &str| site.wharf.run(["exec", "box", "sh", "-c", script]).unwrap();
    let script = "echo x > /dev/null; head -c 2 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; \
                  echo y > /dev/shm/y; cat /dev/shm/y; ls /dev/fd/ >/dev/null; ls -l /dev/ptmx";
    let output = exec(script);
    assert!(output.stdout.starts_with("2\n3\ny\n"), "{output:?}");
    // The first disk and the kernel's memory, whatever they are here.
    for (kind, major, minor) in [("b", 254, 0), ("b", 8, 0), ("c", 1, 1)] {
        let script =
            format!("mknod /tmp/d{major} {kind} {major} {minor} && head -c 1 /tmp/d{major}");
        let output = exec(&script);
        assert!(output.stderr.contains("Operation not permitted"), "{major}:{minor} {output:?}");
    }
}

#[test]
fn namespaces_are_the_containers_own() {
    let Some(site) = Site::new("namespaces") else { return };
    site.detached("box", "sleep 1000");
    site.detached("second", "sleep 1000");
    let of = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    let [one, two] = ["box", "second"]
        .map(|name| site.wharf.inspect(name)["State"]["Pid"].as_u64().unwrap().to_string());
    for kind in ["pid", "mnt", "uts", "ipc", "net"] {
        let (machine, one, two) = (of("self", kind), of(&one, kind), of(&two, kind));
        assert_ne!(one, machine, "{kind}");
        assert_ne!(one, two, "{kind}");
    }
    let host = format!("net:[{}]", site.wharf.host().netns().identity().unwrap());
    assert_ne!(of(&one, "net").to_str().unwrap(), host);
    // It sees its own processes and interfaces, and nothing else.
    // The shell becomes its last command.
    let commands = site.exec("box", "cat /proc/[0-9]*/comm");
    assert_eq!(commands, "sleep\ncat");
    assert_eq!(site.exec("box", "ls /sys/class/net | tr '\\n' ' '"), "eth0 lo ");
    let mounts = site.exec("box", "cat /proc/self/mountinfo");
    assert!(!mounts.contains("/oldroot") && mounts.lines().count() < 50, "{mounts}");
}

#[test]
fn a_container_has_a_control_group_below_the_instances_parent() {
    let Some(site) = Site::new("cgroup") else { return };
    let id = site.detached("box", "sleep 1000");
    let pid = site.wharf.inspect("box")["State"]["Pid"].as_u64().unwrap();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mine: Vec<&str> = groups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter(|it| it.contains(&id))
        .collect();
    assert!(!mine.is_empty(), "{groups}");
    for group in &mine {
        let (parent, name) = group.trim_start_matches('/').split_once('/').unwrap();
        assert!(parent.starts_with("wharf-") && name == id, "{group}");
    }
    let seen = site.wharf.snapshot().unwrap();
    let directories = seen.section("cgroups");
    assert!(directories.iter().any(|it| it.ends_with(&id)), "{directories:?}");
    site.wharf.ok(["rm", "-f", "box"]);
    let seen = site.wharf.snapshot().unwrap();
    assert!(!seen.section("cgroups").iter().any(|it| it.contains(&id)), "its group is left");
}

#[test]
fn a_process_that_loses_its_parent_ends_with_the_container() {
    let Some(site) = Site::new("orphans") else { return };
    site.detached(
        "box",
        "(sleep 1001 &) ; (setsid sleep 1002 &); sleep 0.3; echo done; exec sleep 2",
    );
    site.said("box", "done");
    assert_eq!(site.wharf.ok(["wait", "box"]), "0");
    let left: Vec<_> =
        site.wharf.processes().into_iter().filter(|(_, it)| it.starts_with("sleep")).collect();
    assert_eq!(left, []);
}

#[test]
fn a_program_starts_with_a_clean_slate() {
    let Some(site) = Site::new("clean slate") else { return };
    // As the systemd unit has it.
    let daemon = site.wharf.command(["daemon"]);
    let mut command = std::process::Command::new("/bin/sh");
    let script = "echo -500 > /proc/self/oom_score_adj; umask 077; trap '' USR1 PIPE; \
                  exec 7</etc/passwd; exec \"$0\" daemon";
    command.args(["-c", script]).arg(daemon.get_program());
    command.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _daemon = site.wharf.host().spawn(command).unwrap();
    let socket = site.wharf.run_dir().join("wharf.sock");
    wharf_lab::wait::until(super::site::LIMIT, "the daemon", || {
        std::os::unix::net::UnixStream::connect(&socket).ok()
    })
    .unwrap();

    let script = "cat /proc/PID/oom_score_adj; ls /proc/PID/fd | tr '\\n' ' '; echo; \
                  readlink /proc/PID/cwd; grep -E '^(Umask|SigBlk|SigIgn)' /proc/PID/status";
    let is_clean = |text: &str| {
        let (rest, ignored) = text.rsplit_once("SigIgn:\t").unwrap();
        assert_eq!(rest, "0\n0 1 2 \n/\nUmask:\t0022\nSigBlk:\t0000000000000000\n");
        // Above 31 they have no names, and glibc keeps the first for itself.
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
    };
    site.ok(&["-d", "--name", "plain"], &["sleep", "1000"]);
    is_clean(&site.exec("plain", &script.replace("PID", "1")));
    // A command in it no less.
    site.wharf.ok(["exec", "-d", "plain", "sh", "-c", "echo $$ > /pid; exec sleep 1001"]);
    let pid = site.exec("plain", "while ! [ -s /pid ]; do sleep 0.05; done; cat /pid");
    is_clean(&site.exec("plain", &script.replace("PID", &pid)));
    // Whatever the daemon's umask was, others than root can read what they need.
    let files = "cat /etc/hosts /etc/resolv.conf /etc/hostname > /dev/null && ls /empty && pwd";
    let flags = ["--rm", "-u", "alice", "-v", "store:/empty", "-w", "/made/here"];
    assert_eq!(site.ok(&flags, &["sh", "-c", files]), "/made/here");
    site.wharf.ok(["run", "--rm", "-u", "1000", "wharf/whoami", "--help"]);
    // A shell that stops reading ends whoever writes, as everywhere.
    assert_eq!(site.exec("plain", "(yes; echo $? >&2) 2>&1 | head -n 1"), "y");
}
