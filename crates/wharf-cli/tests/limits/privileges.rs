//! Capabilities, users and groups, kernel settings, and an init.

use super::site::Site;

/// The effective capabilities.
const EFFECTIVE: &str = "grep CapEff /proc/self/status | cut -f2";

#[test]
fn capabilities_are_added_and_dropped_with_and_without_their_prefix() {
    let Some(site) = Site::new("capabilities") else { return };
    let held = |flags: &[&str]| u64::from_str_radix(&site.says(flags, EFFECTIVE), 16).unwrap();
    let default = held(&[]);
    assert_eq!(default & !(1 << 27), 0xa004_25fb, "Docker's, but for CAP_MKNOD");
    assert_eq!(held(&["--cap-add", "net_admin"]), default | 1 << 12);
    assert_eq!(
        held(&["--cap-add", "CAP_SYS_TIME", "--cap-drop", "CHOWN"]),
        (default | 1 << 25) & !1
    );
    assert_eq!(held(&["--cap-drop", "ALL"]), 0);
    assert_eq!(held(&["--cap-drop", "all", "--cap-add", "KILL"]), 1 << 5);
    let all = held(&["--cap-add", "ALL"]);
    assert!(all & (1 << 21) != 0 && all.count_ones() > 30, "{all:x}");
    site.refuses(&["--cap-add", "NOSUCH"], "invalid CapAdd: unknown capability: \"NOSUCH\"");
    // A dropped capability is really gone, for root and for later commands.
    let output = site.run(&["--cap-drop", "CHOWN"], "chown 1 /tmp");
    assert!(output.stderr.contains("Operation not permitted"), "{output:?}");
    site.detached("box", &["--cap-drop", "ALL"], "sleep 1000");
    assert_eq!(site.exec("box", EFFECTIVE), "0000000000000000");
}

#[test]
fn what_the_daemon_does_not_have_cannot_be_added() {
    let Some(site) = Site::new("missing capability") else { return };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bits = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
    if u64::from_str_radix(bits.trim(), 16).unwrap() & (1 << 24) == 0 {
        site.refuses(&["--cap-add", "SYS_RESOURCE"], "the daemon does not have it itself");
    }
}

#[test]
fn a_privileged_container_is_kept_from_nothing() {
    let Some(site) = Site::new("privileged") else { return };
    let script = "grep -E '^Seccomp:' /proc/self/status | cut -f2; mount -t tmpfs x /mnt && echo mounted; \
                  [ -w /proc/sys/net/ipv4/ip_forward ] && echo 1 > /proc/sys/net/ipv4/ip_forward && echo set; \
                  mount | grep -c ' /proc/sys '";
    std::fs::create_dir_all(site.rootfs.join("mnt")).unwrap();
    assert_eq!(site.run(&["--privileged"], script).stdout, "0\nmounted\nset\n0\n");
    let devices = site.says(&["--privileged"], "ls /dev | wc -l");
    assert!(devices.parse::<u32>().unwrap() > 10);
    let output = site.run(&[], "mount -t tmpfs x /mnt");
    assert_ne!(output.code(), 0, "{output:?}");
}

#[test]
fn programs_gain_privileges_as_in_docker_unless_told_not_to() {
    let Some(site) = Site::new("no new privileges") else { return };
    let line = "grep NoNewPrivs /proc/self/status | cut -f2";
    assert_eq!(site.says(&[], line), "0");
    for option in ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"] {
        assert_eq!(site.says(&["--security-opt", option], line), "1");
    }
    for (option, text) in [
        ("apparmor=x", "AppArmor profiles are not available"),
        ("label=disable", "SELinux labels are not available"),
        ("systempaths=unconfined", "--privileged"),
        ("colour=red", "use no-new-privileges"),
        ("seccomp=/no/such/file", "opening seccomp profile (/no/such/file) failed"),
    ] {
        site.refuses(&["--security-opt", option], text);
    }
}

#[test]
fn groups_are_added_by_name_and_number() {
    let Some(site) = Site::new("group add") else { return };
    let flags = ["-u", "alice", "--group-add", "audio", "--group-add", "4242"];
    assert_eq!(site.says(&flags, "id -G"), "1001 29 4242");
    assert_eq!(site.says(&["--group-add", "alice"], "id -G"), "0 1001");
    site.detached("box", &["--group-add", "4242"], "sleep 1000");
    assert_eq!(site.exec("box", "id -G"), "0 4242");
    site.wharf.ok(["rm", "-f", "box"]);
    let output = site.run(&["--group-add", "nosuch"], "true");
    assert!(output.stderr.contains("unable to find group nosuch"), "{output:?}");
}

#[test]
fn numeric_users_need_no_passwd() {
    let Some(site) = Site::new("no passwd") else { return };
    for file in ["etc/passwd", "etc/group"] {
        std::fs::remove_file(site.rootfs.join(file)).unwrap();
    }
    assert_eq!(
        site.says(&["-u", "12345:77", "--group-add", "5"], "id -u; id -g; id -G; echo $HOME"),
        "12345\n77\n77 5\n/"
    );
    assert_eq!(site.says(&[], "id -u"), "0");
    let output = site.run(&["-u", "alice"], "true");
    assert!(output.stderr.contains("unable to find user alice"), "{output:?}");
}

#[test]
fn kernel_settings_of_its_own_namespaces_can_be_set() {
    let Some(site) = Site::new("sysctl") else { return };
    let flags = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096"];
    assert_eq!(
        site.says(&flags, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"),
        "1\n4096"
    );
    let flags = ["--sysctl", "net.ipv4.conf.eth0.rp_filter=2"];
    assert_eq!(site.says(&flags, "cat /proc/sys/net/ipv4/conf/eth0/rp_filter"), "2");
    let before = std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    site.refuses(&["--sysctl", "kernel.panic=1"], "sysctl 'kernel.panic' is not allowed");
    site.refuses(&["--sysctl", "vm.swappiness=1"], "belongs to the whole host");
    site.refuses(&["--sysctl", "net"], "use NAME=VALUE");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), before);
}

#[test]
fn an_init_reaps_passes_signals_on_and_ends_as_the_command_did() {
    let Some(site) = Site::new("init") else { return };
    let output = site.run(&["--init"], "echo $$; exit 7");
    assert_eq!((output.code(), output.stdout.trim()), (7, "2"), "{output:?}");
    let output = site.run(&["--init"], "kill -9 $$");
    assert_eq!(output.code(), 137, "{output:?}");
    // Orphans that end do not stay.
    let script = "trap 'echo bye; exit 3' TERM; (sleep 0.1 &); (sleep 0.2 &); sleep 1; \
                  grep -l '^State:.Z' /proc/[0-9]*/status | wc -l; echo ready; while :; do sleep 0.1; done";
    site.detached("box", &["--init"], script);
    site.said("box", "ready");
    let log = site.wharf.run(["logs", "box"]).unwrap();
    assert!(log.stdout.starts_with("0\n"), "{log:?}");
    site.wharf.ok(["kill", "-s", "TERM", "box"]);
    assert_eq!(site.wharf.ok(["wait", "box"]), "3");
    site.said("box", "bye");
    site.wharf.ok(["rm", "box"]);
    // Without one, a shell that is number 1 leaves them; Docker's default is the same.
    assert_eq!(site.says(&[], "echo $$"), "1");
    let output = site.wharf.fails(["run", "--rm", "--init", &site.image(), "/no/such"]);
    assert_eq!(output.code(), 127, "{output:?}");
}
