//! What a running container costs beside what runs in it.

use super::site::Site;

/// Memory of one shim: promised to be less.
const PROMISED: u64 = 4 << 20;

fn rollup(pid: i32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

#[test]
fn a_shim_takes_less_than_four_megabytes() {
    let Some(site) = Site::new("shim memory") else { return };
    for name in ["one", "two", "three"] {
        site.detached(name, &[], "echo up; exec sleep 1000");
        site.said(name, "up");
    }
    for pid in site.wharf.pids_of("shim") {
        let (resident, own) = (rollup(pid, "Rss"), rollup(pid, "Pss"));
        eprintln!("shim {pid}: {} kB resident, {} kB its own share", resident >> 10, own >> 10);
        assert!(resident < PROMISED, "shim {pid} has {} kB resident", resident >> 10);
    }
}
