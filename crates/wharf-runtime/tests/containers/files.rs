//! Layers, whiteouts, volumes and the files under /etc.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use wharf_runtime::command::{Command, Overrides};
use wharf_runtime::image::ImageStore;

use crate::support::{Fixture, busybox_root, has_busybox};

/// A `docker save` archive of `layers`.
fn archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<_> =
        layers.iter().map(|layer| wharf_runtime::Digest::of(layer).to_string()).collect();
    let config = serde_json::to_vec(&serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["sh", "-c", "ls /data; cat /data/new; echo $A"], "Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": ids},
    }))
    .unwrap();
    let names: Vec<_> = (0..layers.len()).map(|i| format!("{i}.tar")).collect();
    let manifest = serde_json::to_vec(
        &serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]),
    )
    .unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("config.json", &config);
    add("manifest.json", &manifest);
    names.iter().zip(layers).for_each(|(name, layer)| add(name, layer));
    builder.into_inner().unwrap()
}

fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(u64::try_from(content.len()).unwrap());
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn an_archive_with_whiteouts_runs_as_the_layers_say() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::new(Vec::new(), &[]);
    let base = fixture.dir.path().join("base");
    busybox_root(&base);
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", &base).unwrap();
    let layers = [
        builder.into_inner().unwrap(),
        layer(&[
            ("data/", ""),
            ("data/old", "1"),
            ("data/kept", "2"),
            ("data/sub/", ""),
            ("data/sub/deep", "3"),
        ]),
        layer(&[
            ("data/", ""),
            ("data/.wh.old", ""),
            ("data/new", "n\n"),
            ("data/sub/", ""),
            ("data/sub/.wh..wh..opq", ""),
        ]),
    ];
    let store = ImageStore::open(&fixture.dir.path().join("images")).unwrap();
    store.load_archive(archive("demo:1", &layers).as_slice()).unwrap();
    let image = store.resolve("demo:1").unwrap();
    let command = Command::merge(&image.config, &Overrides::default(), "box").unwrap();
    fixture.spec.layers = image.layers;
    (fixture.spec.args, fixture.spec.env) = (command.args, command.env);
    assert_eq!(fixture.run(), (0, "kept\nnew\nsub\nn\nb\n".to_owned()));
    fixture.spec.args = ["ls", "-A", "/data/sub"].map(str::to_owned).to_vec();
    fs::remove_file(fixture.spec.dir.join("container.log")).unwrap();
    assert_eq!(fixture.run(), (0, String::new()));
    fixture.nothing_left();
}

#[test]
fn a_hundred_layers_are_stacked_in_order() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("cat /who; ls /own | wc -l");
    let base = fixture.image();
    let mut layers: Vec<PathBuf> = (0..100)
        .map(|index| {
            let path = fixture.dir.path().join(format!("layer,with:odd-name-{index}"));
            fs::create_dir_all(path.join("own")).unwrap();
            fs::write(path.join("who"), format!("{index}\n")).unwrap();
            fs::write(path.join(format!("own/{index}")), "").unwrap();
            path
        })
        .collect();
    layers.push(base);
    fixture.spec.layers = layers;
    assert_eq!(fixture.run(), (0, "0\n100\n".to_owned()));
    fixture.nothing_left();
}

#[test]
fn what_a_container_writes_stays_its_own_and_survives_a_restart() {
    if !has_busybox() {
        return;
    }
    let mut fixture =
        Fixture::busybox("cat /kept 2>/dev/null; echo mine > /kept; rm /etc/group; stat -c %a /");
    fs::set_permissions(fixture.image(), fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(fixture.run(), (0, "750\n".to_owned()));
    fixture.spec.args[2] = "cat /kept; ls /etc".to_owned();
    assert_eq!(fixture.run().1, "750\nmine\npasswd\n");
    assert!(!fixture.image().join("kept").exists() && fixture.image().join("etc/group").exists());
    fixture.nothing_left();
}

#[test]
fn what_a_container_makes_of_its_root_survives_a_restart() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("chmod 1777 /; chown 12:34 /");
    assert_eq!(fixture.run().0, 0);
    fixture.spec.args[2] = "stat -c %a:%u:%g /".to_owned();
    assert_eq!(fixture.run(), (0, "1777:12:34\n".to_owned()));
    fixture.nothing_left();
}

#[test]
fn host_directories_are_seen_and_read_only_ones_stay_as_they_are() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox(
        "cat /in/f; touch /ro/x 2>/dev/null && echo bad; echo back > /in/out; cat /file; ls /ro",
    );
    let shared = fixture.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("f"), "host\n").unwrap();
    fixture.bind(&shared, "/in", false, false);
    fixture.bind(&shared, "/ro", true, false);
    fixture.bind(&shared.join("f"), "/file", true, false);
    assert_eq!(fixture.run(), (0, "host\nhost\nf\nout\n".to_owned()));
    assert_eq!(fs::read_to_string(shared.join("out")).unwrap(), "back\n");
    fixture.nothing_left();
}

#[test]
fn an_empty_named_volume_takes_what_the_image_has() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("cat /data/a; echo changed > /data/a");
    let data = fixture.image().join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("a"), "image\n").unwrap();
    fs::hard_link(data.join("a"), data.join("sub/b")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", data.join("link")).unwrap();
    std::os::unix::fs::chown(&data, Some(33), Some(34)).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o2770)).unwrap();
    let volume = fixture.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fixture.bind(&volume, "/data", false, true);
    assert_eq!(fixture.run().1, "image\n");
    let meta = fs::metadata(&volume).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (33, 34, 0o2770));
    assert_eq!(fs::read_to_string(volume.join("sub/b")).unwrap(), "changed\n");
    assert!(fs::symlink_metadata(volume.join("link")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(data.join("a")).unwrap(), "image\n");
    // Not empty any more: it stays as it is.
    assert_eq!(fixture.run().1, "image\nchanged\n");
    fixture.nothing_left();
}

#[test]
fn hostile_links_in_the_image_lead_nowhere_outside() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox("cat /etc/hosts; ls /out/sub; pwd");
    let outside = fixture.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    // Links made for the host's root: inside, they mean the container's.
    std::os::unix::fs::symlink(&outside, fixture.image().join("out")).unwrap();
    let volume = fixture.dir.path().join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("v"), "").unwrap();
    fixture.bind(&volume, "/out/sub", false, true);
    fixture.spec.workdir = "/out/work".to_owned();
    fs::create_dir_all(&fixture.spec.dir).unwrap();
    fs::write(fixture.spec.dir.join("hosts"), "127.0.0.1 localhost\n").unwrap();
    std::os::unix::fs::symlink(outside.join("victim"), fixture.image().join("etc/hosts")).unwrap();
    let inside = fixture.image().join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    let (code, text) = fixture.run();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{code} {text}");
    assert!(text.contains("v\n"), "{text}");
    fixture.nothing_left();
}

#[test]
fn names_under_etc_are_the_daemons_files_and_can_be_written() {
    if !has_busybox() {
        return;
    }
    let mut fixture = Fixture::busybox(
        "cat /etc/hosts /etc/hostname /etc/resolv.conf; echo '10.0.0.1 x' >> /etc/hosts",
    );
    fs::create_dir_all(&fixture.spec.dir).unwrap();
    for (name, text) in [
        ("hosts", "127.0.0.1 localhost\n"),
        ("hostname", "box\n"),
        ("resolv.conf", "nameserver 1.1.1.1\n"),
    ] {
        fs::write(fixture.spec.dir.join(name), text).unwrap();
    }
    assert_eq!(fixture.run().1, "127.0.0.1 localhost\nbox\nnameserver 1.1.1.1\n");
    let hosts = fs::read_to_string(fixture.spec.dir.join("hosts")).unwrap();
    assert_eq!(hosts, "127.0.0.1 localhost\n10.0.0.1 x\n");
    fixture.nothing_left();
}
