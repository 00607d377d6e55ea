//! Limits of control groups and of processes, as the container sees them.

use super::site::Site;

/// The value of a limit, wherever this layout has it: `(v1 file, v2 file)`.
fn value(v1: &str, v2: &str) -> String {
    format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}; ")
}

fn is_v1() -> bool {
    !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn memory_is_limited_and_a_program_that_wants_more_is_ended() {
    let Some(site) = Site::new("memory limit") else { return };
    let script = value("memory/memory.limit_in_bytes", "memory.max");
    assert_eq!(site.says(&["-m", "64m"], &script), (64 << 20).to_string());
    let swap = value("memory/memory.memsw.limit_in_bytes", "memory.swap.max");
    let (twice, plain) = if is_v1() { (128 << 20, 96 << 20) } else { (64 << 20, 32 << 20) };
    assert_eq!(site.says(&["-m", "64m"], &swap), twice.to_string(), "as much swap as memory");
    let flags = ["-m", "64m", "--memory-swap", "96m", "--memory-reservation", "32m"];
    assert_eq!(site.says(&flags, &swap), plain.to_string());
    let soft = value("memory/memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(site.says(&flags, &soft), (32 << 20).to_string());

    let output = site.run(
        &["-m", "16m", "--memory-swap", "16m"],
        "head -c 200m /dev/zero | tail >/dev/null; exit $?",
    );
    assert_eq!(output.code(), 137, "{output:?}");
    for (script, expected) in [("tail /dev/zero", "true"), ("true", "false")] {
        site.detached("short", &["-m", "16m", "--memory-swap", "16m"], script);
        site.wharf.ok(["wait", "short"]);
        let told = site.wharf.ok(["inspect", "-f", "{{.State.OOMKilled}}", "short"]);
        assert_eq!(told.trim(), expected, "{script}");
        site.wharf.ok(["rm", "short"]);
    }
    // A command run in it later is in the same group.
    site.detached("box", &["-m", "16m", "--memory-swap", "16m"], "sleep 1000");
    let output =
        site.wharf.run(["exec", "box", "sh", "-c", "head -c 200m /dev/zero | tail >/dev/null"]);
    assert_ne!(output.unwrap().code(), 0);
    let shown = site.wharf.inspect("box")["HostConfig"].clone();
    assert_eq!(
        (shown["Memory"].as_u64(), shown["MemorySwap"].as_i64()),
        (Some(16 << 20), Some(16 << 20))
    );
}

#[test]
fn processors_are_limited_by_time_by_share_and_by_number() {
    let Some(site) = Site::new("cpu limit") else { return };
    let quota = match is_v1() {
        true => {
            "cat /sys/fs/cgroup/cpu*/cpu.cfs_quota_us | head -n1; cat /sys/fs/cgroup/cpu*/cpu.cfs_period_us | head -n1"
        }
        false => "tr ' ' '\\n' < /sys/fs/cgroup/cpu.max",
    };
    assert_eq!(site.says(&["--cpus", "0.5"], quota), "50000\n100000");
    assert_eq!(
        site.says(&["--cpu-quota", "20000", "--cpu-period", "50000"], quota),
        "20000\n50000"
    );
    let share = value("cpu/cpu.shares", "cpu.weight");
    let wanted = if is_v1() { "512" } else { "20" };
    assert_eq!(site.says(&["-c", "512"], &share), wanted);
    let list = "grep Cpus_allowed_list /proc/self/status | tr -d ' \\t'";
    assert_eq!(site.says(&["--cpuset-cpus", "0"], list), "Cpus_allowed_list:0");
}

#[test]
fn processes_are_limited_by_number() {
    let Some(site) = Site::new("pids limit") else { return };
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo started";
    let output = site.run(&["--pids-limit", "5"], script);
    assert!(output.stderr.contains("can't fork"), "{output:?}");
    let most = value("pids/pids.max", "pids.max");
    assert_eq!(site.says(&["--pids-limit", "5"], &most), "5");
    assert_eq!(site.says(&["--pids-limit", "-1"], &most), "max");
}

#[test]
fn processes_have_limits_of_their_own() {
    let Some(site) = Site::new("ulimits") else { return };
    let script = "ulimit -Sn; ulimit -Hn; ulimit -Hc";
    let flags = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"];
    assert_eq!(site.says(&flags, script), "100\n200\n0");
    site.detached("box", &flags, "sleep 1000");
    assert_eq!(site.exec("box", script), "100\n200\n0", "a command run later has them, too");
    site.wharf.ok(["rm", "-f", "box"]);
    site.refuses(
        &["--ulimit", "nofile=2:1"],
        "soft limit must be less than or equal to hard limit",
    );
    site.refuses(&["--ulimit", "files=1"], "invalid ulimit type");
    if !wharf_has("CAP_SYS_RESOURCE") {
        site.refuses(&["--ulimit", "nofile=1000000"], "CAP_SYS_RESOURCE");
    }
}

fn wharf_has(capability: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bits = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
    let number = if capability == "CAP_SYS_RESOURCE" { 24 } else { 0 };
    u64::from_str_radix(bits.trim(), 16).unwrap() & (1 << number) != 0
}

#[test]
fn the_score_for_the_day_memory_runs_out_is_set_for_all_of_it() {
    let Some(site) = Site::new("oom score") else { return };
    let script = "cat /proc/self/oom_score_adj";
    assert_eq!(site.says(&["--oom-score-adj", "500"], script), "500");
    assert_eq!(site.says(&[], script), "0");
    site.detached("box", &["--oom-score-adj", "300"], "sleep 1000");
    assert_eq!(site.exec("box", script), "300");
    // Its shim is not the one to go first.
    let shim = site.wharf.pids_of("shim")[0];
    let own = std::fs::read_to_string(format!("/proc/{shim}/oom_score_adj")).unwrap();
    assert_eq!(own.trim(), "0");
    site.wharf.ok(["rm", "-f", "box"]);
    site.refuses(&["--oom-score-adj", "1001"], "[-1000, 1000]");
    if !wharf_has("CAP_SYS_RESOURCE") {
        site.refuses(&["--oom-score-adj", "-1"], "CAP_SYS_RESOURCE");
    }
}

#[test]
fn shared_memory_and_devices_are_as_asked() {
    let Some(site) = Site::new("shm and devices") else { return };
    let size = "df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    assert_eq!(site.says(&[], size), "65536");
    assert_eq!(site.says(&["--shm-size", "16m"], size), "16384");
    let flags = ["--device", "/dev/zero:/dev/nought"];
    assert_eq!(
        site.says(&flags, "head -c 3 /dev/nought | wc -c; ls -l /dev/nought | cut -c1"),
        "3\nc"
    );
    site.refuses(&["--device", "/dev/no-such-device"], "error gathering device information");
    site.refuses(&["--device", "/etc/passwd:/dev/x"], "not a device node");
    site.refuses(&["--device", "/dev/zero:/tmp/x"], "below /dev");
}

#[test]
fn limits_that_cannot_be_are_refused_before_anything_is_made() {
    let Some(site) = Site::new("refused limits") else { return };
    for (flags, text) in [
        (&["-m", "1m"][..], "Minimum memory limit allowed is 6MB"),
        (&["-m", "x"], "invalid argument \"x\" for \"-m, --memory\" flag"),
        (&["--memory-swap", "64m"], "You should always set the Memory limit"),
        (&["-m", "64m", "--memory-swap", "32m"], "Minimum memoryswap limit should be larger"),
        (&["-m", "64m", "--memory-reservation", "128m"], "can not be less than memory reservation"),
        (&["--cpus", "0.001"], "range of CPUs is from 0.01"),
        (&["--cpus", "10000"], "range of CPUs is from 0.01"),
        (&["--cpus", "1", "--cpu-quota", "1000"], "conflicting options"),
        (&["--cpu-period", "1"], "CPU cfs period"),
        (&["--cpu-shares", "1"], "use 2 to 262144"),
        (&["--cpuset-cpus", "9999"], "Requested CPUs are not available"),
        (&["--cpuset-cpus", "a"], "Invalid value a for cpuset cpus"),
        (&["--cgroup-parent", "/x"], "--cgroup-parent is not available"),
    ] {
        site.refuses(flags, text);
    }
}
