//! Files in and out of containers, with Docker's rules for what lands where.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::site::Site;

const SETUP: &str = "mkdir -p /d/sub; echo one > /d/one; echo two > /d/sub/two; ln -s one /d/link; \
    ln /d/one /d/hard; chmod 640 /d/one; chown 12:34 /d/one; mkfifo /d/fifo";

/// A container with files in it, running or stopped.
fn boxed(name: &str, running: bool) -> Option<(Site, PathBuf)> {
    let site = Site::new(name)?;
    let script = format!("{SETUP}; echo ready; exec sleep 1000");
    site.detached("box", &script);
    site.said("box", "ready");
    if !running {
        site.wharf.ok(["stop", "-t", "0", "box"]);
    }
    let here = site.lab.directory().join("here");
    fs::create_dir(&here).unwrap();
    Some((site, here))
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn out_of(running: bool) {
    let name = if running { "cp running" } else { "cp stopped" };
    let Some((site, here)) = boxed(name, running) else { return };
    let to = |name: &str| here.join(name).display().to_string();
    site.wharf.ok(["cp", "box:/d/one", &to("file")]);
    assert_eq!(text(here.join("file")), "one\n");
    assert_eq!(fs::metadata(here.join("file")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(here.join("file")).unwrap().uid(), 0, "without -a files are ours");
    site.wharf.ok(["cp", "-a", "box:d/one", &to("")]);
    assert_eq!(fs::metadata(here.join("one")).unwrap().uid(), 12);
    // A directory that is not there is made; one that is there gets it inside.
    site.wharf.ok(["cp", "box:/d", &to("new")]);
    assert_eq!(text(here.join("new/sub/two")), "two\n");
    assert_eq!(fs::read_link(here.join("new/link")).unwrap(), PathBuf::from("one"));
    let same = |name: &str| fs::metadata(here.join(name)).unwrap().ino();
    assert_eq!(same("new/one"), same("new/hard"), "a hard link stays one");
    site.wharf.ok(["cp", "box:/d", &to("new")]);
    assert_eq!(text(here.join("new/d/one")), "one\n");
    fs::create_dir(here.join("contents")).unwrap();
    site.wharf.ok(["cp", "box:/d/.", &to("contents")]);
    assert_eq!(text(here.join("contents/one")), "one\n");
    // Links are copied as such, or followed.
    site.wharf.ok(["cp", "box:/d/link", &to("as-link")]);
    assert!(fs::symlink_metadata(here.join("as-link")).unwrap().is_symlink());
    site.wharf.ok(["cp", "-L", "box:/d/link", &to("followed")]);
    assert_eq!(text(here.join("followed")), "one\n");
    site.refused(&["cp", "box:/gone", &to("x")], 1, "no such container:path: box:/gone");
    site.refused(&["cp", "box:/d/one", &to("no/where")], 1, "does not exist: make it first");
}

#[test]
fn files_come_out_of_a_running_container() {
    out_of(true);
}

#[test]
fn files_come_out_of_a_stopped_container() {
    out_of(false);
}

fn into(running: bool) {
    let name = if running { "cp into running" } else { "cp into stopped" };
    let Some((site, here)) = boxed(name, running) else { return };
    fs::write(here.join("file"), "from here\n").unwrap();
    fs::create_dir_all(here.join("dir/deep")).unwrap();
    fs::write(here.join("dir/deep/er"), "deeper\n").unwrap();
    let from = |name: &str| here.join(name).display().to_string();
    site.wharf.ok(["cp", &from("file"), "box:/d/renamed"]);
    site.wharf.ok(["cp", &from("file"), "box:/d/sub"]);
    site.wharf.ok(["cp", &from("dir"), "box:/d/made"]);
    site.wharf.ok(["cp", &from("dir/."), "box:/d/sub"]);
    site.refused(&["cp", &from("file"), "box:/gone/x"], 1, "does not exist: make it first");
    site.refused(&["cp", &from("dir"), "box:/d/one"], 1, "which is a file");
    if !running {
        site.wharf.ok(["start", "box"]);
    }
    assert_eq!(site.exec("box", "cat /d/renamed /d/sub/file"), "from here\nfrom here");
    assert_eq!(site.exec("box", "cat /d/made/deep/er /d/sub/deep/er"), "deeper\ndeeper");
    assert_eq!(site.exec("box", "stat -c %u:%g /d/renamed"), "0:0");
}

#[test]
fn files_go_into_a_running_container() {
    into(true);
}

#[test]
fn files_go_into_a_stopped_container() {
    into(false);
}

#[test]
fn streams_are_tar_archives() {
    let Some((site, here)) = boxed("cp streams", true) else { return };
    let mut command = site.wharf.command(["cp", "box:/d", "-"]);
    let output = command.output().unwrap();
    assert!(output.status.success());
    let mut archive = tar::Archive::new(output.stdout.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(names.iter().all(|name| name == "d" || name == "d/" || name.starts_with("d/")));
    assert!(names.iter().any(|name| name == "d/sub/two"), "{names:?}");
    fs::write(here.join("archive"), &output.stdout).unwrap();
    let mut command = site.wharf.command(["cp", "-", "box:/tmp"]);
    site.exec("box", "mkdir -p /tmp");
    let input = fs::File::open(here.join("archive")).unwrap();
    assert!(command.stdin(input).status().unwrap().success());
    assert_eq!(site.exec("box", "cat /tmp/d/sub/two"), "two");
}

/// The container owns its files: links in it must not lead a copy onto the host.
#[test]
fn links_in_a_container_do_not_lead_out_of_it() {
    let Some((site, here)) = boxed("cp links", true) else { return };
    fs::write(here.join("secret"), "of the host\n").unwrap();
    let secret = here.join("secret").display().to_string();
    site.exec("box", &format!("ln -s {} /d/out; ln -s {} /d/dir", secret, here.display()));
    let to = here.join("got").display().to_string();
    site.wharf.fails(["cp", "-L", "box:/d/out", &to]);
    assert!(!here.join("got").exists());
    fs::write(here.join("evil"), "from the container's side\n").unwrap();
    let evil = here.join("evil").display().to_string();
    site.wharf.fails(["cp", &evil, "box:/d/dir/secret"]);
    assert_eq!(text(here.join("secret")), "of the host\n");
}

#[test]
fn a_file_in_a_volume_is_found_while_nothing_runs() {
    let Some((site, here)) = boxed("cp volume", true) else { return };
    let flags = ["-d", "--name", "data", "-v", "kept:/data"];
    site.ok(&flags, &["sh", "-c", "echo kept > /data/file; echo done; sleep 1000"]);
    site.said("data", "done");
    site.wharf.ok(["stop", "-t", "0", "data"]);
    let to = here.join("kept").display().to_string();
    site.wharf.ok(["cp", "data:/data/file", &to]);
    assert_eq!(text(here.join("kept")), "kept\n");
}

/// As if it had been filled when the container was made, and only then.
#[test]
fn a_volume_has_what_the_image_has_before_its_container_starts() {
    let Some((site, here)) = boxed("cp new volume", true) else { return };
    let to = here.join("got").display().to_string();
    let create = |name: &str, volume: &str| {
        let line = ["create", "--name", name, "-v", volume, &site.image(), "sleep", "1000"];
        site.wharf.ok(line);
    };
    create("one", "one:/srv");
    site.wharf.ok(["cp", "one:/srv/greeting", &to]);
    assert_eq!(text(here.join("got")), "hello from the image\n");
    create("two", "two:/srv");
    site.wharf.ok(["cp", &to, "two:/srv/mine"]);
    site.wharf.ok(["start", "two"]);
    assert_eq!(site.exec("two", "ls /srv"), "greeting\nmine");
    site.exec("two", "rm -r /srv/*");
    site.wharf.ok(["restart", "-t", "0", "two"]);
    assert_eq!(site.exec("two", "ls /srv"), "", "it was emptied");
}

#[test]
fn what_a_container_may_not_write_to_is_not_written_to_while_it_rests() {
    let Some((site, here)) = boxed("cp read-only", true) else { return };
    let [deep, flat, free] = ["deep", "flat", "free"].map(|name| here.join(name));
    for dir in [&deep, &flat, &free] {
        fs::create_dir(dir).unwrap();
    }
    fs::create_dir_all(here.join("tree/not")).unwrap();
    fs::write(here.join("tree/not/x"), "x").unwrap();
    let flat_option = format!(
        "type=bind,source={},target=/flat,readonly,bind-recursive=disabled",
        flat.display()
    );
    let line = [
        "--read-only",
        "-v",
        &format!("{}:/deep:ro", deep.display()),
        "--mount",
        &flat_option,
        "-v",
        &format!("{}:/free", free.display()),
        "-v",
        &format!("{}:/free/not:ro", deep.display()),
    ];
    fs::write(here.join("file"), "x").unwrap();
    let file = here.join("file").display().to_string();
    let mut create = vec!["create".to_owned(), "--name".to_owned(), "ro".to_owned()];
    create.extend(line.iter().map(|word| (*word).to_owned()));
    create.extend([site.image(), "sleep".to_owned(), "1000".to_owned()]);
    site.wharf.ok(create);
    for running in [false, true] {
        if running {
            site.wharf.ok(["start", "ro"]);
        }
        let root = "container rootfs is marked read-only: ";
        site.refused(&["cp", &file, "ro:/srv/x"], 1, root);
        for place in ["ro:/deep/x", "ro:/flat/x"] {
            site.refused(&["cp", &file, place], 1, "mounted volume is marked read-only: ");
        }
        site.wharf.ok(["cp", &file, "ro:/free/x"]);
        // A directory that can be written to, with one below it that cannot.
        let tree = format!("{}/.", here.join("tree").display());
        site.refused(&["cp", &tree, "ro:/free"], 1, "mounted volume is marked read-only: ");
        fs::remove_file(free.join("x")).unwrap();
    }
    assert_eq!(fs::read_dir(&deep).unwrap().count() + fs::read_dir(&flat).unwrap().count(), 0);
}

#[test]
fn pipes_arrive_as_pipes_both_ways() {
    let Some((site, here)) = boxed("cp pipes", true) else { return };
    let to = here.join("new").display().to_string();
    site.wharf.ok(["cp", "box:/d", &to]);
    let fifo = fs::symlink_metadata(here.join("new/fifo")).unwrap();
    assert!(fifo.file_type().is_fifo());
    // The second time, links and pipes are there already.
    for _ in 0..2 {
        site.wharf.ok(["cp", &format!("{to}/."), "box:/back"]);
        assert_eq!(site.exec("box", "test -p /back/fifo && cat /back/hard"), "one");
    }
}

#[test]
fn files_of_the_kernel_have_what_can_be_read_of_them() {
    let Some((site, here)) = boxed("cp proc", true) else { return };
    let to = here.join("got").display().to_string();
    site.wharf.ok(["cp", "box:/proc/version", &to]);
    assert_eq!(text(here.join("got")), fs::read_to_string("/proc/version").unwrap());
    site.wharf.ok(["cp", "box:/sys/class/net/lo/mtu", &to]);
    assert_eq!(text(here.join("got")), "65536\n");
}

/// Left out without a word, it would look as if it had been copied.
#[test]
fn a_stream_with_a_name_that_leads_out_is_refused() {
    let Some((site, here)) = boxed("cp out", true) else { return };
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..4].copy_from_slice(b"../x");
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    let mut builder = tar::Builder::new(fs::File::create(here.join("tar")).unwrap());
    builder.append(&header, std::io::empty()).unwrap();
    builder.finish().unwrap();
    let mut command = site.wharf.command(["cp", "-", "box:/d/sub"]);
    let output = command.stdin(fs::File::open(here.join("tar")).unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("climbs out with '..'"), "{said}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let Some((site, _)) = boxed("cp refused", true) else { return };
    site.refused(&["cp", "box:/a", "box:/b"], 1, "copying between containers is not supported");
    site.refused(&["cp", "/a", "/b"], 1, "must specify at least one container source");
    site.refused(&["cp", "gone:/a", "/tmp/b"], 1, "no such container: gone");
}

/// 64 MiB each way, the same at the end.
#[test]
fn large_files_arrive_whole() {
    let Some((site, here)) = boxed("cp large", true) else { return };
    let bytes: Vec<u8> =
        (0u32..16 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(here.join("large"), &bytes).unwrap();
    let from = here.join("large").display().to_string();
    let back = here.join("back").display().to_string();
    site.wharf.ok(["cp", &from, "box:/d/large"]);
    site.wharf.ok(["cp", "box:/d/large", &back]);
    assert!(fs::read(&back).unwrap() == bytes, "it has changed on the way");
}
