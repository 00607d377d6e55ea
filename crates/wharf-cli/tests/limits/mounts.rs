//! A root that cannot be written to, memory as directories, and `--mount`.

use std::fs;

use super::site::Site;

#[test]
fn a_read_only_root_leaves_volumes_and_memory_to_write_to() {
    let Some(site) = Site::new("read only") else { return };
    let output = site.run(&["--read-only"], "touch /srv/x");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    let flags = ["--read-only", "--tmpfs", "/run", "-v", "data:/data", "-w", "/made"];
    let script = "touch /run/x /data/x /dev/shm/x && echo y > /dev/null && pwd";
    assert_eq!(site.says(&flags, script), "/made");
    site.detached("box", &["--read-only"], "sleep 1000");
    assert_eq!(site.wharf.inspect("box")["HostConfig"]["ReadonlyRootfs"], true);
    assert_ne!(site.wharf.run(["exec", "box", "touch", "/x"]).unwrap().code(), 0);
}

#[test]
fn memory_is_mounted_with_dockers_options_and_those_given() {
    let Some(site) = Site::new("tmpfs") else { return };
    let line = |flags: &[&str]| site.says(flags, "grep ' /run ' /proc/mounts; stat -c %a /run");
    let plain = line(&["--tmpfs", "/run"]);
    assert!(plain.contains("tmpfs rw,nosuid,nodev,noexec") && plain.ends_with("1777"), "{plain}");
    let given = line(&["--tmpfs", "/run:size=1m,mode=750,exec"]);
    assert!(given.contains("size=1024k") && !given.contains("noexec"), "{given}");
    assert!(given.ends_with("750"), "{given}");
    let fields = line(&["--mount", "type=tmpfs,target=/run,tmpfs-size=2m,tmpfs-mode=700,readonly"]);
    assert!(fields.contains("tmpfs ro") && fields.contains("size=2048k"), "{fields}");
    // It is gone with the container, and what the image has there is hidden.
    assert_eq!(site.says(&["--tmpfs", "/srv"], "ls /srv"), "");
    site.refuses(&["--tmpfs", "/run:size=huge"], "invalid size");
    site.refuses(&["--tmpfs", "run"], "must be absolute");
}

#[test]
fn mounts_are_given_in_fields() {
    let Some(site) = Site::new("mount flag") else { return };
    let shared = site.lab.directory().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "host\n").unwrap();
    let bind = format!("type=bind,source={},target=/data", shared.display());
    assert_eq!(site.says(&["--mount", &bind], "cat /data/file; echo box > /data/box"), "host");
    assert_eq!(fs::read_to_string(shared.join("box")).unwrap(), "box\n");
    let output = site.run(&["--mount", &format!("{bind},readonly")], "touch /data/x");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    let missing = "type=bind,source=/no/such/place,target=/data";
    site.refuses(&["--mount", missing], "bind source path does not exist: /no/such/place");
    assert!(!fs::exists("/no/such/place").unwrap());

    let volume = ["--mount", "type=volume,source=store,target=/srv"];
    assert_eq!(site.says(&volume, "cat /srv/greeting"), "hello from the image");
    let empty = ["--mount", "source=bare,target=/srv,volume-nocopy"];
    assert_eq!(site.says(&empty, "ls -A /srv"), "");
    assert_eq!(site.says(&["-v", "bare2:/srv:nocopy"], "ls -A /srv"), "");
    for (fields, text) in [
        ("type=bind,source=/tmp,target=/x,bind-propagation=rshared", "is not available"),
        ("type=nfs,target=/x", "unknown mount type"),
        ("source=a,target=/x,volume-driver=nfs", "volume driver"),
        ("target=/x,what=ever", "unexpected key"),
    ] {
        site.refuses(&["--mount", fields], text);
    }
    site.refuses(&["-v", "ab:/x", "--tmpfs", "/x"], "duplicate mount point: /x");
}

#[test]
fn what_is_mounted_below_a_bind_is_seen_or_not() {
    let Some(site) = Site::new("recursive bind") else { return };
    let outer = site.lab.directory().join("outer");
    fs::create_dir_all(outer.join("inner")).unwrap();
    // In the container's own view: a tmpfs below a bind of the same container.
    let fields = format!("type=bind,source={},target=/data", outer.display());
    let flags = ["--mount", &fields, "--tmpfs", "/data/inner:size=1m"];
    assert_eq!(site.says(&flags, "touch /data/inner/x; ls /data/inner"), "x");
    assert_eq!(fs::read_dir(outer.join("inner")).unwrap().count(), 0, "it went to memory");
}

#[test]
fn another_containers_volumes_can_be_shared() {
    let Some(site) = Site::new("volumes from") else { return };
    site.detached("one", &["-v", "store:/srv", "-v", "/cache"], "sleep 1000");
    site.exec("one", "echo from one > /cache/x");
    let flags = ["--volumes-from", "one"];
    assert_eq!(site.says(&flags, "cat /cache/x /srv/greeting"), "from one\nhello from the image");
    let output = site.run(&["--volumes-from", "one:ro"], "touch /cache/y");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    let flags = ["--volumes-from", "one", "--tmpfs", "/cache"];
    assert_eq!(site.says(&flags, "ls /cache"), "", "one's own comes first");
    // A container that ends takes none of them with it.
    assert_eq!(site.exec("one", "cat /cache/x"), "from one");
    site.fails(&["run", "--volumes-from", "nobody", &site.image(), "true"], 125, "nobody");
}
