//! `oci-archive:` and `wharf load` of OCI image layouts.

use serde_json::json;
use tar::EntryType;

use super::archive::{Layer, Layout, gzip};
use super::site::Site;

/// Three layers that add, replace, take away and hide.
fn layered(site: &Site) -> Layout {
    let base = Layer::new()
        .tree(&site.rootfs)
        .directory("data")
        .file("data/a", "a")
        .file("data/gone", "x")
        .directory("data/sub")
        .file("data/sub/old", "old")
        .directory("lost")
        .file("lost/x", "x");
    let middle = Layer::new()
        .file("data/b", "b")
        .file("data/a", "second a")
        .without("data/gone")
        .opaque("data/sub")
        .file("data/sub/new", "new")
        .hard_link("data/c", "data/b");
    let top = Layer::new().file("data/gone2", "x").without("./lost");
    let config = json!({
        "Env": ["PATH=/bin", "COLOUR=green"],
        "Cmd": ["sh", "-c", "echo $COLOUR from $(pwd)"],
        "WorkingDir": "/data",
        "User": "alice",
        "ExposedPorts": {"80/tcp": {}, "5300/udp": {}},
        "Labels": {"made": "here"},
        "Volumes": {"/var/store": {}},
        "StopSignal": "SIGUSR1",
    });
    Layout::default().image("layered:1", &[base.build(), middle.build(), top.build()], config)
}

#[test]
fn layers_are_stacked_with_what_they_take_away_and_hide() {
    let Some(site) = Site::new("layers") else { return };
    let file = layered(&site).write(site.lab.directory(), "image.tar");
    let source = format!("oci-archive:{}", file.display());
    assert_eq!(site.wharf.ok(["run", "--rm", &source]), "green from /data");
    let script = "ls . sub; cat a b c sub/new; ls -d /lost 2>&1; stat -c %h b";
    let said = site.sh("layered:1", script);
    let wanted = ".:\na\nb\nc\ngone2\nsub\n\nsub:\nnew\nsecond abbnewls: /lost: No such file or directory\n2";
    assert_eq!(said, wanted);
    assert_eq!(site.sh("layered:1", "id -u; echo x > /tmp/x && cat /tmp/x"), "1000\nx");

    // What the image says is what its containers get.
    let id = site.wharf.ok(["run", "-d", "-P", "layered:1", "sleep", "1000"]);
    let found = site.wharf.inspect(&id);
    assert_eq!(found["Config"]["Labels"]["made"], "here");
    assert_eq!(found["Config"]["StopSignal"], "SIGUSR1");
    assert_eq!(found["Mounts"][0]["Destination"], "/var/store");
    let ports = found["NetworkSettings"]["Ports"].as_object().unwrap().clone();
    assert_eq!(ports.keys().collect::<Vec<_>>(), ["5300/udp", "80/tcp"]);
    assert!(ports.values().all(|it| it.as_array().is_some_and(|it| it.len() == 2)), "{ports:?}");
    // The layers are shared and never written to.
    let layers = site.layers();
    site.wharf.ok(["exec", "-u", "root", &id, "rm", "-r", "/data"]);
    assert_eq!(site.sh("layered:1", "cat a"), "second a");
    assert_eq!(site.layers(), layers);
}

#[test]
fn load_takes_files_and_pipes_plain_and_compressed() {
    let Some(site) = Site::new("load") else { return };
    let file = layered(&site).write(site.lab.directory(), "image.tar");
    let loaded = site.wharf.ok(["load", "-i", file.to_str().unwrap()]);
    assert_eq!(loaded, "Loaded image: layered:1");
    assert_eq!(site.sh("layered:1", "cat a"), "second a");
    site.wharf.ok(["rmi", "layered:1"]);

    let mut load = site.wharf.spawn(["load"]).unwrap();
    load.feed(&gzip(&layered(&site).build())).unwrap();
    let output = load.output(super::docker::LIMIT).unwrap();
    assert_eq!(output.stdout, "Loaded image: layered:1\n", "{output:?}");
    assert_eq!(site.sh("layered:1", "cat a"), "second a");
    assert_eq!(site.wharf.ok(["load", "-q", "-i", file.to_str().unwrap()]), "");
}

#[test]
fn of_several_images_in_an_archive_one_can_be_named() {
    let Some(site) = Site::new("several") else { return };
    let base = Layer::new().tree(&site.rootfs).build();
    let image = |text: &str| vec![base.clone(), Layer::new().file("which", text).build()];
    let config = || json!({"Cmd": ["cat", "/which"]});
    let layout = Layout::default().image("pair:one", &image("first"), config()).image(
        "pair:two",
        &image("second"),
        config(),
    );
    let file = layout.write(site.lab.directory(), "pair.tar");
    let source = format!("oci-archive:{}", file.display());
    let refused = site.wharf.fails(["run", &source]);
    assert_eq!(refused.code(), 125);
    assert!(refused.stderr.contains("pair:one, pair:two"), "{refused:?}");
    assert_eq!(site.wharf.ok(["run", "--rm", &format!("{source}:pair:two")]), "second");
    site.wharf.ok(["load", "-i", file.to_str().unwrap()]);
    assert_eq!(site.names().into_iter().collect::<Vec<_>>(), ["pair:one", "pair:two"]);
    assert_eq!(site.wharf.ok(["run", "--rm", "pair:one"]), "first");
    assert_eq!(site.layers(), 3, "the lower layer is there once");
}

#[test]
fn a_blob_with_a_wrong_digest_is_refused_and_nothing_is_kept() {
    let Some(site) = Site::new("wrong digest") else { return };
    let [base, more, other] =
        ["base", "more", "other"].map(|text| Layer::new().file("which", text).build());
    for bad in [&base, &more] {
        let layout = Layout::default().image("bad:1", &[base.clone(), more.clone()], json!({}));
        let file = layout.exchanged(bad, &other).write(site.lab.directory(), "bad.tar");
        let refused = site.wharf.fails(["load", "-i", file.to_str().unwrap()]);
        assert_eq!((refused.code(), refused.stdout.as_str()), (1, ""));
        assert!(refused.stderr.contains("its digest is sha256:"), "{refused:?}");
        assert_eq!(site.list(), [] as [serde_json::Value; 0]);
    }
    assert!(site.layers() <= 1, "the layer below is sound");
}

#[test]
fn a_damaged_blob_is_refused_and_nothing_is_kept() {
    let Some(site) = Site::new("damaged") else { return };
    // The largest are the layers.
    for number in 0..2 {
        let file = layered(&site).damaged(number).write(site.lab.directory(), "bad.tar");
        let refused = site.wharf.fails(["load", "-i", file.to_str().unwrap()]);
        assert_eq!((refused.code(), refused.stdout.as_str()), (1, ""));
        let text = &refused.stderr;
        assert!(["digest", "broken", "corrupt"].iter().any(|it| text.contains(it)), "{text}");
        assert_eq!(site.list(), [] as [serde_json::Value; 0]);
    }
    nothing_is_left(&site);
}

#[test]
fn garbage_is_refused_with_a_clear_text_and_nothing_is_left() {
    let Some(site) = Site::new("garbage") else { return };
    let directory = site.lab.directory().to_owned();
    let config = || json!({"Cmd": ["sh"]});
    let layer = |layer: Layer| Layout::default().image("bad:1", &[layer.build()], config()).build();
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "archive"),
        (
            "noise",
            (0..5_000u32).flat_map(|it| it.wrapping_mul(2_654_435_761).to_be_bytes()).collect(),
            "archive",
        ),
        ("text", b"this is no archive at all, however long it may go on".repeat(50), "archive"),
        ("a tar of something else", Layer::new().file("x", "y").build(), "manifest.json"),
        (
            "cut off",
            {
                let mut whole = layered(&site).build();
                whole.truncate(whole.len() / 2);
                whole
            },
            "",
        ),
        ("outside", layer(Layer::new().file("../../outside", "x")), "../../outside"),
        (
            "outside by a link",
            layer(Layer::new().entry("l", EntryType::Link, "", Some("../../etc/passwd"))),
            "etc/passwd",
        ),
        ("half a gzip", gzip(&layered(&site).build())[..5000].to_vec(), ""),
    ];
    for (name, bytes, text) in cases {
        let file = directory.join("garbage.tar");
        std::fs::write(&file, &bytes).unwrap();
        let refused = site.wharf.fails(["load", "-i", file.to_str().unwrap()]);
        assert_eq!(refused.code(), 1, "{name}: {refused:?}");
        assert!(
            refused.stderr.contains(text) && refused.stderr.len() < 1000,
            "{name}: {refused:?}"
        );
        let source = format!("oci-archive:{}", file.display());
        let refused = site.wharf.fails(["run", &source]);
        assert_eq!(refused.code(), 125, "{name}: {refused:?}");
        assert_eq!(site.list(), [] as [serde_json::Value; 0], "{name}");
    }
    nothing_is_left(&site);
    assert!(!site.wharf.state_dir().join("outside").exists());
    let refused = site.wharf.fails(["load", "-i", "/no/such/file.tar"]);
    assert!(refused.stderr.contains("/no/such/file.tar"), "{refused:?}");
    assert_eq!(site.wharf.json(["ps", "-a"]), json!([]));
}

fn nothing_is_left(site: &Site) {
    assert_eq!(site.layers(), 0);
    let scratch = site.wharf.state_dir().join("images/scratch");
    let left: Vec<_> = std::fs::read_dir(&scratch).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
