//! `pause`, `unpause`, `update`, `stats` and `top`.

use std::time::Duration;

use wharf_lab::wait;

use super::site::{LIMIT, Site};

#[test]
fn a_paused_container_stands_still_until_it_is_unpaused() {
    let Some(site) = Site::new("pause") else { return };
    site.detached("box", &[], "i=0; while :; do i=$((i+1)); echo $i > /tmp/i; sleep 0.05; done");
    wait::until(LIMIT, "the first count", || {
        site.wharf.run(["exec", "box", "cat", "/tmp/i"]).ok().filter(|o| o.is_success())
    })
    .unwrap();
    let pid = site.wharf.inspect("box")["State"]["Pid"].as_u64().unwrap();
    let count = || std::fs::read_to_string(format!("/proc/{pid}/root/tmp/i")).unwrap();
    assert_eq!(site.wharf.ok(["pause", "box"]), "box");
    let state = site.wharf.inspect("box")["State"].clone();
    assert_eq!(
        (&state["Status"], &state["Paused"], &state["Running"]),
        (&"paused".into(), &true.into(), &true.into())
    );
    assert!(site.wharf.ok(["ps"]).contains("(Paused)"));
    let then = count();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(count(), then);
    site.fails(&["pause", "box"], 1, "is already paused");
    site.fails(&["exec", "box", "true"], 125, "is paused, unpause the container before exec");
    site.fails(&["start", "box"], 1, "cannot start a paused container, try unpause instead");

    // The daemon is not what keeps it so.
    site.wharf.kill9("daemon").unwrap();
    assert!(site.wharf.ok(["ps"]).contains("(Paused)"));
    site.wharf.ok(["unpause", "box"]);
    site.fails(&["unpause", "box"], 1, "is not paused");
    wait::until(LIMIT, "it to go on", || (count() != then).then_some(())).unwrap();
    // Stopping, killing and removing do not wait for anybody to unpause it.
    site.wharf.ok(["pause", "box"]);
    site.wharf.ok(["stop", "-t", "0", "box"]);
    site.fails(&["pause", "box"], 1, "is not running");
    site.wharf.ok(["start", "box"]);
    assert_eq!(site.wharf.inspect("box")["State"]["Status"], "running");
    site.wharf.ok(["pause", "box"]);
    site.wharf.ok(["rm", "-f", "box"]);
    assert_eq!(site.wharf.ok(["ps", "-aq"]), "");
}

#[test]
fn limits_of_a_running_container_change_at_once_or_not_at_all() {
    let Some(site) = Site::new("update") else { return };
    site.detached("box", &["-m", "64m", "--pids-limit", "50"], "sleep 1000");
    let memory = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    let pids = "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max";
    assert_eq!(site.wharf.ok(["update", "-m", "96m", "--pids-limit", "20", "box"]), "box");
    assert_eq!(
        (site.exec("box", memory), site.exec("box", pids)),
        ((96 << 20).to_string(), "20".into())
    );
    site.fails(&["update", "-m", "512m", "box"], 1, "update the memoryswap at the same time");
    site.wharf.ok(["update", "-m", "512m", "--memory-swap", "1g", "box"]);
    assert_eq!(site.exec("box", memory), (512 << 20).to_string());
    site.fails(&["update", "-m", "1m", "box"], 1, "Minimum memory limit");
    site.fails(&["update", "box"], 1, "one or more flags");
    assert_eq!(site.wharf.inspect("box")["HostConfig"]["Memory"], 512 << 20);
    site.wharf.ok(["update", "--restart", "on-failure:3", "box"]);
    let policy = site.wharf.inspect("box")["HostConfig"]["RestartPolicy"].clone();
    assert_eq!(policy, serde_json::json!({"Name": "on-failure", "MaximumRetryCount": 3}));
    site.fails(&["update", "--restart", "sometimes", "box"], 1, "sometimes");
    // It lasts over a restart.
    site.wharf.ok(["restart", "-t", "0", "box"]);
    assert_eq!(
        (site.exec("box", memory), site.exec("box", pids)),
        ((512 << 20).to_string(), "20".into())
    );
    site.wharf.ok(["stop", "-t", "0", "box"]);
    site.wharf.ok(["update", "--pids-limit", "-1", "box"]);
    site.wharf.ok(["start", "box"]);
    assert_eq!(site.exec("box", pids), "max");
}

#[test]
fn stats_show_what_containers_use() {
    let Some(site) = Site::new("stats") else { return };
    site.detached("busy", &["-m", "64m"], "while :; do :; done");
    site.detached("idle", &[], "sleep 1000");
    let table = site.wharf.ok(["stats", "--no-stream"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("CONTAINER ID   NAME"), "{table}");
    assert!(table.contains("/ 64MiB"), "{table}");
    let rows = site.wharf.json(["stats", "--no-stream", "busy", "idle"]);
    let (busy, idle) = (&rows[0], &rows[1]);
    let percent = |row: &serde_json::Value| row["cpu_percent"].as_f64().unwrap();
    assert!(percent(busy) > 5.0 && percent(busy) > percent(idle), "{rows:?}");
    assert_eq!(busy["memory_limit"], 64 << 20);
    assert_eq!((&idle["pids"], &busy["name"]), (&1.into(), &"busy".into()));
    assert!(idle["memory"].as_u64().unwrap() > 0, "{idle}");
    site.exec("idle", "ping -c 1 -w 1 $(ip route | awk '/default/ {print $3}') || true");
    let later = site.wharf.json(["stats", "--no-stream", "idle"])[0].clone();
    assert!(later["network_sent"].as_u64() > idle["network_sent"].as_u64(), "{later}");
    site.wharf.ok(["stop", "-t", "0", "idle"]);
    let stopped = site.wharf.ok(["stats", "--no-stream", "-a"]);
    assert!(stopped.contains("idle"), "{stopped}");
    site.fails(&["stats", "--no-stream", "nobody"], 1, "no such container: nobody");
}

#[test]
fn top_lists_the_processes_by_their_numbers_on_the_host() {
    let Some(site) = Site::new("top") else { return };
    site.detached("box", &["-u", "1000"], "sleep 1234 & sleep 1235; wait");
    let pid = site.wharf.inspect("box")["State"]["Pid"].as_u64().unwrap();
    let count = || site.wharf.json(["top", "box"])["processes"].as_array().unwrap().len();
    wait::until(LIMIT, "three processes", || (count() == 3).then_some(())).unwrap();
    let table = site.wharf.ok(["top", "box"]);
    let titles: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(table.contains(&format!(" {pid} ")) && table.contains("sleep 1234"), "{table}");
    let top = site.wharf.json(["top", "box"]);
    assert_eq!(top["processes"].as_array().unwrap().len(), 3, "{top}");
    site.fails(&["top", "box", "-o", "pid"], 1, "options of ps are not available");
    site.wharf.ok(["stop", "-t", "0", "box"]);
    site.fails(&["top", "box"], 1, "is not running");
}
