//! Limits of containers by control groups of version 2, which no other test of this project meets on
//! a host that has those of version 1, too.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode};
use wharf_lab::Scene;

/// It is there where nothing else is mounted.
const UNIFIED: &str = "/sys/fs/cgroup/cgroup.controllers";
/// What a container finds of its limits, and what it must find.
const FILES: [(&str, &str); 5] = [
    ("memory.max", "67108864"),
    ("memory.swap.max", "67108864"),
    ("pids.max", "7"),
    ("cpu.max", "50000 100000"),
    ("cpu.weight", "20"),
];
/// The first disk of a machine.
const DISK: (u32, u32) = (8, 0);

/// Runs containers of busybox with limits, and looks at them from inside.
///
/// # Errors
/// When a limit is not in force.
pub(super) fn keep(scene: &Scene) -> Result<()> {
    if !Path::new(UNIFIED).exists() {
        println!("skipped: this host has control groups of version 1");
        return Ok(());
    }
    let rootfs = scene.busybox().context("busybox is not installed")?;
    let device = rustix::fs::makedev(DISK.0, DISK.1);
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(CWD, rootfs.join("disk"), FileType::BlockDevice, mode, device)?;
    let image = format!("dir:{}", rootfs.display());
    numbers(scene, &image)?;
    memory(scene, &image)?;
    standstill(scene, &image)?;
    devices(scene, &image)
}

fn numbers(scene: &Scene, image: &str) -> Result<()> {
    let flags = ["-m", "64m", "--pids-limit", "7", "--cpus", "0.5", "--cpu-shares", "512"];
    let files: Vec<&str> = FILES.iter().map(|(file, _)| *file).collect();
    let script = format!("cd /sys/fs/cgroup && cat {}", files.join(" "));
    let told = run(scene, &[&["--rm"], &flags[..]].concat(), image, &script);
    for ((file, expected), found) in FILES.iter().zip(told.lines()) {
        ensure!(found == *expected, "{file} is {found}, not {expected}");
    }
    Ok(())
}

fn memory(scene: &Scene, image: &str) -> Result<()> {
    let flags = ["-m", "16m", "--memory-swap", "16m", "--name", "glutton"];
    let line = [&["run"], &flags[..], &[image, "tail", "/dev/zero"]].concat();
    let output = scene.wharf.run(line)?;
    ensure!(output.code() == 137, "it was not ended: {output:?}");
    let told = scene.wharf.ok(["inspect", "-f", "{{.State.OOMKilled}}", "glutton"]);
    ensure!(told.trim() == "true", "nothing tells that it was for its memory: {told}");
    scene.wharf.ok(["rm", "glutton"]);
    Ok(())
}

fn standstill(scene: &Scene, image: &str) -> Result<()> {
    run(scene, &["-d", "--name", "box"], image, "sleep 1000");
    scene.wharf.ok(["pause", "box"]);
    ensure!(scene.wharf.state("box").as_deref() == Some("paused"), "it is not paused");
    scene.wharf.ok(["unpause", "box"]);
    scene.wharf.ok(["update", "--pids-limit", "5", "box"]);
    let told = scene.wharf.ok(["exec", "box", "cat", "/sys/fs/cgroup/pids.max"]);
    ensure!(told.trim() == "5", "the limit was not changed: {told}");
    let told = scene.wharf.ok(["stats", "--no-stream", "box"]);
    ensure!(told.contains("box"), "no figures: {told}");
    scene.wharf.ok(["rm", "-f", "box"]);
    Ok(())
}

/// Where nothing filters devices a node of one, which an image may bring, leads nowhere.
fn devices(scene: &Scene, image: &str) -> Result<()> {
    let script = "head -c 1 /disk 2>&1; mknod /tmp/disk b 8 0 2>&1; echo end";
    let told = run(scene, &["--rm"], image, script);
    ensure!(told.contains("/disk: Permission denied"), "a node of an image was opened: {told}");
    ensure!(told.contains("mknod: /tmp/disk: Operation not permitted"), "one was made: {told}");
    Ok(())
}

fn run(scene: &Scene, flags: &[&str], image: &str, script: &str) -> String {
    scene.wharf.ok([&["run"], flags, &[image, "sh", "-c", script]].concat())
}
