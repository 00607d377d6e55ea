//! What a container can and cannot see and do.

use crate::support::{Fixture, has_busybox};

fn output_of(script: &str) -> Option<String> {
    if !has_busybox() {
        return None;
    }
    let mut fixture = Fixture::busybox(script);
    let output = fixture.run().1;
    fixture.nothing_left();
    Some(output)
}

#[test]
fn capabilities_are_dockers_and_system_calls_are_filtered() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("");
    // Without a shell, which would ignore SIGQUIT by itself.
    let command = ["grep", "-E", "Cap|NoNewPrivs|Seccomp|Groups|SigIgn|Umask", "/proc/self/status"];
    fixture.spec.args = command.map(str::to_owned).to_vec();
    let text = fixture.run().1;
    fixture.nothing_left();
    // Docker's set is a80425fb; CAP_MKNOD (bit 27) only where devices are filtered.
    let has = |line: &str| text.contains(line);
    assert!(has("CapBnd:\t00000000a80425fb") || has("CapBnd:\t00000000a00425fb"), "{text}");
    assert!(has("CapEff:\t00000000a80425fb") || has("CapEff:\t00000000a00425fb"), "{text}");
    assert!(has("CapInh:\t0000000000000000") && has("CapAmb:\t0000000000000000"), "{text}");
    assert!(has("NoNewPrivs:\t0") && has("Umask:\t0022") && has("Seccomp:\t2"), "{text}");
    assert!(has("Groups:\t0 \n"), "no groups of the host's: {text}");
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    // 32 and 33 are the C library's own and cannot be changed.
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff;
    assert_eq!(ignored, 0, "no signal is ignored by inheritance: {text}");
}

#[test]
fn another_user_has_no_capabilities() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox(
        "id; grep -E 'CapEff|CapPrm' /proc/self/status; echo $HOME; echo x > /dev/stdout",
    );
    fixture.spec.user = "web".to_owned();
    let (code, text) = fixture.run();
    assert_eq!(
        text,
        "uid=1000(web) gid=1001(web) groups=77(extra),1001(web)\n\
         CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n/home/web\nx\n"
    );
    assert_eq!(code, 0);
    fixture.nothing_left();
}

#[test]
fn kernel_interfaces_are_masked_or_read_only() {
    let script = "head -c 1 /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware | wc -l; \
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger; do (echo x > $f) 2>/dev/null && echo bad $f; done; \
        touch /sys/x 2>/dev/null && echo bad sys; touch /sys/fs/cgroup/x 2>/dev/null && echo bad cgroup; \
        for d in /sys/fs/cgroup/*; do test -d $d && mkdir $d/x 2>/dev/null && echo bad $d; done; echo end";
    let Some(text) = output_of(script) else { return };
    assert_eq!(text, "0\n0\nend\n");
}

#[test]
fn devices_are_the_few_and_others_cannot_be_opened() {
    let script = "ls /dev; echo x > /dev/null && head -c 3 /dev/zero | wc -c; \
        major=$(stat -c %t /tmp/none 2>/dev/null); \
        mknod /tmp/disk b 254 0 2>/dev/null; head -c 1 /tmp/disk >/dev/null 2>&1 && echo bad disk; \
        mknod /dev/mem2 c 1 1 2>/dev/null; head -c 1 /dev/mem2 >/dev/null 2>&1 && echo bad mem; echo end";
    let Some(text) = output_of(script) else { return };
    assert!(text.ends_with("3\nend\n"), "{text}");
    for name in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue",
        "stdin", "fd",
    ] {
        assert!(text.lines().any(|line| line == name), "{name}: {text}");
    }
}

#[test]
fn low_ports_need_no_privilege_and_the_loopback_is_up() {
    if !has_busybox() {
        return;
    }
    let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
        grep -c lo: /proc/net/dev; wc -l < /proc/net/dev";
    let mut fixture = Fixture::busybox(script);
    fixture.spec.user = "web".to_owned();
    assert_eq!(fixture.run().1, "0\n1\n3\n");
    fixture.nothing_left();
}

#[test]
fn the_host_is_not_reachable_through_what_is_inherited() {
    let Some(text) = output_of("ls -l /proc/self/fd; env; pwd; grep -c . /proc/self/mountinfo")
    else {
        return;
    };
    // ls shows 0, 1, 2 and, without a target, the directory it reads.
    assert_eq!(text.lines().filter(|line| line.contains("->")).count(), 3, "{text}");
    assert!(!text.contains("CARGO") && !text.contains("LISTEN_FDS"), "{text}");
}
