//! What a running container costs beside what runs in it.

use wharf_lab::wait;

use super::site::{LIMIT, Site};

/// Memory of one shim: promised to be less.
const PROMISED: u64 = 4 << 20;
/// What of it is counted. A program that is not optimized has its code lie far apart, and four times the
/// tables to relocate, so that only what it has made itself says something.
const FIELD: &str = if cfg!(debug_assertions) { "Anonymous" } else { "Rss" };
/// The tables of a debug build that are relocated: they count as made by it.
const TABLES: u64 = if cfg!(debug_assertions) { 3 << 20 } else { 0 };

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
            let taken = rollup(pid, FIELD);
            (taken < PROMISED + TABLES).then_some(taken)
        });
        let (resident, own) = (rollup(pid, "Rss"), rollup(pid, FIELD));
        eprintln!("shim {pid}: {} kB resident, {FIELD} {} kB", resident >> 10, own >> 10);
        slim.unwrap();
    }
}
