//! `-v`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::site::Site;

#[test]
fn a_bind_shows_the_hosts_files_and_ro_keeps_them() {
    let Some(site) = Site::new("bind") else { return };
    let shared = site.lab.directory().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("from-host"), "host\n").unwrap();
    let bind = format!("{}:/data", shared.display());
    let script = "cat /data/from-host; echo box > /data/from-box";
    assert_eq!(site.ok(&["--rm", "-v", &bind], &["sh", "-c", script]), "host");
    assert_eq!(fs::read_to_string(shared.join("from-box")).unwrap(), "box\n");

    let output = site.run(&["--rm", "-v", &format!("{bind}:ro")], "cat /data/from-box; > /data/x");
    assert_ne!(output.code(), 0);
    assert_eq!(output.stdout, "box\n");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    assert!(!shared.join("x").exists());

    let file = format!("{}:/etc/motd", shared.join("from-host").display());
    assert_eq!(site.ok(&["--rm", "-v", &file], &["cat", "/etc/motd"]), "host");
    // As in Docker, a place that is missing becomes a directory.
    let missing = site.lab.directory().join("not/there");
    site.ok(&["--rm", "-v", &format!("{}:/data", missing.display())], &["touch", "/data/x"]);
    assert!(missing.join("x").exists());
    site.refused(&["run", "-v", "a/b:/c", &site.image(), "true"], 125, "a/b");
}

#[test]
fn a_bind_may_be_given_from_the_current_directory() {
    let Some(site) = Site::new("relative bind") else { return };
    let here = site.lab.directory().join("here");
    fs::create_dir(&here).unwrap();
    let mut command = site.command(&["--rm", "-v", "./sub:/data"], "touch /data/x");
    command.current_dir(&here);
    let output = site.wharf.host().output(command, super::site::LIMIT).unwrap();
    assert!(output.is_success(), "{output:?}");
    assert!(here.join("sub/x").exists());
}

#[test]
fn a_named_volume_is_filled_from_the_image_once_and_outlives_its_containers() {
    let Some(site) = Site::new("named volume") else { return };
    fs::create_dir(site.rootfs.join("srv/owned")).unwrap();
    std::os::unix::fs::chown(site.rootfs.join("srv/owned"), Some(1000), Some(1001)).unwrap();
    let flags = ["--rm", "-v", "store:/srv"];
    let script = "cat /srv/greeting; stat -c %u:%g /srv/owned; echo more > /srv/more";
    assert_eq!(site.ok(&flags, &["sh", "-c", script]), "hello from the image\n1000:1001");
    // Another container finds what is in it, not the image's.
    let script = "cat /srv/more; rm /srv/greeting; ls /srv";
    assert_eq!(site.ok(&flags, &["sh", "-c", script]), "more\nmore\nowned");
    assert_eq!(site.ok(&flags, &["ls", "/srv"]), "more\nowned");
    let kept = site.wharf.state_dir().join("volumes/store/_data");
    assert_eq!(fs::read_to_string(kept.join("more")).unwrap(), "more\n");
    assert_eq!(fs::metadata(kept.join("owned")).unwrap().uid(), 1000);

    // Two at once share it.
    site.ok(&["-d", "--name", "one", "-v", "store:/srv"], &["sleep", "1000"]);
    site.ok(&["-d", "--name", "two", "-v", "store:/mnt:ro"], &["sleep", "1000"]);
    site.exec("one", "echo shared > /srv/shared");
    assert_eq!(site.exec("two", "cat /mnt/shared"), "shared");
    let mounts = site.wharf.inspect("two")["Mounts"].clone();
    assert_eq!((&mounts[0]["Type"], &mounts[0]["RW"]), (&"volume".into(), &false.into()));
}

#[test]
fn a_volume_without_a_name_goes_with_its_container_when_that_is_said() {
    let Some(site) = Site::new("anonymous volume") else { return };
    site.ok(&["-d", "--name", "box", "-v", "/srv"], &["sleep", "1000"]);
    assert_eq!(site.exec("box", "cat /srv/greeting; echo x > /srv/x"), "hello from the image");
    let source = site.wharf.inspect("box")["Mounts"][0]["Source"].as_str().unwrap().to_owned();
    assert!(fs::exists(format!("{source}/x")).unwrap());
    // It is the container's over a restart.
    site.wharf.ok(["restart", "-t", "0", "box"]);
    assert_eq!(site.exec("box", "cat /srv/x"), "x");
    site.wharf.ok(["rm", "-f", "-v", "box"]);
    assert!(!fs::exists(&source).unwrap());
}
