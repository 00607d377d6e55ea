//! What a running container costs beside what runs in it.

use wharf_lab::wait;

use super::site::{LIMIT, Site};

/// Memory of one shim: promised to be less. A program that is not optimized has four times the
/// tables to relocate, and its code lies far apart.
const PROMISED: u64 = if cfg!(debug_assertions) { 8 << 20 } else { 4 << 20 };

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
        // It gives back what starting took once it is left alone.
        let slim = wait::until(LIMIT, &format!("shim {pid} to be slim"), || {
            let resident = rollup(pid, "Rss");
            (resident < PROMISED).then_some(resident)
        });
        let (resident, own) = (slim.unwrap(), rollup(pid, "Pss"));
        eprintln!("shim {pid}: {} kB resident, {} kB its own share", resident >> 10, own >> 10);
    }
}
