//! `save`, `import`, `tag`, `history`, `image …`.

use std::process::Stdio;

use serde_json::json;

use super::archive::{Layer, Layout, gzip};
use super::docker::LIMIT;
use super::site::Site;

fn load(site: &Site) -> String {
    let base = Layer::new().tree(&site.rootfs).build();
    let top = Layer::new().file("which", "saved").directory("d").hard_link("d/same", "which");
    let gone = Layer::new().without("srv/greeting").opaque("home").file("home/new", "n").build();
    let config = json!({"Cmd": ["cat", "/which"], "Env": ["A=1"]});
    let layout = Layout::default().image("saved:1", &[base, top.build(), gone], config);
    let file = layout.write(site.lab.directory(), "saved.tar");
    site.wharf.ok(["load", "-q", "-i", file.to_str().unwrap()]);
    site.wharf.inspect("saved:1")["Id"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_saved_is_loaded_again_byte_for_byte() {
    let Some(site) = Site::new("save") else { return };
    let id = load(&site);
    let file = site.lab.directory().join("out.tar");
    let path = file.to_str().unwrap();
    site.wharf.ok(["tag", "saved:1", "host:5000/other:name"]);
    site.wharf.ok(["save", "-o", path, "saved:1", "host:5000/other:name"]);
    let first = std::fs::read(&file).unwrap();
    site.wharf.ok(["image", "rm", "-f", &id]);
    assert_eq!((site.list().len(), site.layers()), (0, 0));
    let loaded = site.wharf.ok(["image", "load", "-i", path]);
    assert_eq!(loaded, "Loaded image: saved:1\nLoaded image: host:5000/other:name");
    // The id is the digest of its configuration, and the layers' digests have been checked.
    assert_eq!(site.wharf.inspect("saved:1")["Id"].as_str().unwrap(), id);
    assert_eq!(site.wharf.ok(["run", "--rm", "saved:1"]), "saved");
    assert_eq!(site.sh("saved:1", "cat /d/same; ls /srv /home"), "saved/home:\nnew\n\n/srv:");
    site.wharf.ok(["save", "-o", path, "saved:1", "host:5000/other:name"]);
    assert_eq!(first, std::fs::read(&file).unwrap());
    // To a pipe, by id: without a name.
    let piped = site.wharf.command(["save", &id]);
    let mut save = piped;
    save.stdin(Stdio::null()).stdout(std::fs::File::create(&file).unwrap());
    assert!(save.status().is_ok());
    let refused = site.wharf.fails(["save", "-o", "/no/such/place/x", "saved:1"]);
    assert!(refused.stderr.contains("/no/such/place/x"), "{refused:?}");
    for name in ["none:1", "wharf/whoami", "dir:/tmp"] {
        let refused = site.wharf.fails(["save", "-o", path, name]);
        assert!(refused.stderr.contains(name) && refused.code() == 1, "{refused:?}");
    }
}

#[test]
fn a_layer_that_has_changed_on_the_disk_is_not_saved() {
    let Some(site) = Site::new("save damaged") else { return };
    load(&site);
    let layers = site.wharf.state_dir().join("images/layers");
    let which = std::fs::read_dir(&layers).unwrap().flatten().map(|it| it.path().join("which"));
    let which = which.into_iter().find(|it| it.exists()).unwrap();
    std::fs::write(&which, "SAVED").unwrap();
    let file = site.lab.directory().join("out.tar");
    let refused = site.wharf.fails(["save", "-o", file.to_str().unwrap(), "saved:1"]);
    assert!(refused.stderr.contains("gave up in the middle"), "{refused:?}");
    assert!(!file.exists());
}

#[test]
fn docker_loads_what_is_saved() {
    let Some(site) = Site::new("docker load") else { return };
    let started = wharf_lab::Docker::start(&site.wharf, &["--iptables=false", "--bridge=none"]);
    let Some(docker) = started.unwrap() else { return };
    let id = load(&site);
    let file = site.lab.directory().join("out.tar");
    site.wharf.ok(["save", "-o", file.to_str().unwrap(), "saved:1"]);
    assert_eq!(docker.ok(&["load", "-i", file.to_str().unwrap()]), "Loaded image: saved:1");
    assert_eq!(docker.ok(&["inspect", "--format", "{{.Id}}", "saved:1"]), id);
}

#[test]
fn a_root_file_system_is_imported() {
    let Some(site) = Site::new("import") else { return };
    let tar = site.lab.directory().join("root.tar.gz");
    std::fs::write(&tar, gzip(&Layer::new().tree(&site.rootfs).build())).unwrap();
    let line = [
        "import",
        "-c",
        "CMD [\"cat\", \"/srv/greeting\"]",
        "--change",
        "ENV A=\"b c\"",
        "-m",
        "by hand",
        tar.to_str().unwrap(),
        "imported:1",
    ];
    let id = site.wharf.ok(line);
    assert_eq!(site.wharf.inspect("imported:1")["Id"].as_str().unwrap(), id);
    assert_eq!(site.wharf.ok(["run", "--rm", "imported:1"]), "hello from the image");
    assert_eq!(site.sh("imported:1", "echo $A"), "b c");
    let history = site.wharf.json(["history", "imported:1"]);
    assert_eq!(history[0]["comment"], "by hand");
    assert!(history[0]["size"].as_u64().unwrap() > 1_000_000, "{history}");

    let mut import = site.wharf.spawn(["import", "-"]).unwrap();
    import.feed(&std::fs::read(&tar).unwrap()).unwrap();
    let output = import.output(LIMIT).unwrap();
    assert!(output.is_success() && output.stdout.starts_with("sha256:"), "{output:?}");
    assert_eq!(site.layers(), 1, "the layer is the same");
    for (line, text) in [
        (["import", "-c", "RUN x", tar.to_str().unwrap()].as_slice(), "invalid change"),
        (&["import", "http://example.org/x.tar"], "curl"),
        (&["import", "/no/such/file"], "/no/such/file"),
        (&["import", tar.to_str().unwrap(), "Upper"], "invalid reference format"),
    ] {
        let refused = site.wharf.fails(line);
        assert!(refused.stderr.contains(text), "{refused:?}");
    }
}

#[test]
fn names_history_and_pruning() {
    let Some(site) = Site::new("verbs") else { return };
    let id = load(&site);
    site.wharf.ok(["image", "tag", &id[7..19], "again"]);
    assert_eq!(site.wharf.ok(["images", "-q", "again"]).lines().count(), 1);
    assert_eq!(site.wharf.ok(["images", "--filter", "reference=sav*"]).lines().count(), 2);
    let refused = site.wharf.fails(["tag", "saved:1", &format!("x@{id}")]);
    assert!(refused.stderr.contains("refusing to create a tag with a digest"), "{refused:?}");
    let refused = site.wharf.fails(["tag", "none", "x"]);
    assert!(refused.stderr.contains("no such image: none"), "{refused:?}");
    let history = site.wharf.ok(["image", "history", "saved:1"]);
    assert!(history.starts_with("IMAGE "), "{history}");
    assert_eq!(history.lines().count(), 4);
    assert!(history.contains(&id[7..19]) && history.contains("<missing>"), "{history}");
    let found = site.wharf.ok(["image", "inspect", "again"]);
    assert!(found.contains(&id), "{found}");
    site.wharf.ok(["create", "--name", "box", "again"]);
    site.wharf.ok(["rmi", "-f", "saved:1", "again"]);
    assert!(site.wharf.ok(["image", "prune", "-af"]).contains("reclaimed space: 0B"));
    site.wharf.ok(["rm", "box"]);
    let refused = site.wharf.fails(["image", "prune"]);
    assert!(refused.stderr.contains("add --force"), "{refused:?}");
    let line = ["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"];
    assert_eq!(site.wharf.ok(line), format!("<none>:<none> {}", &id[7..19]));
    assert_eq!(site.list().len(), 1);
    let pruned = site.wharf.ok(["image", "prune", "-f"]);
    assert!(pruned.contains(&format!("deleted: {id}")), "{pruned}");
    assert_eq!((site.list().len(), site.layers()), (0, 0));
}

#[test]
fn an_image_may_be_called_as_a_verb_is() {
    let Some(site) = Site::new("named as a verb") else { return };
    load(&site);
    for name in ["pull", "load", "save", "tag", "prune", "import"] {
        site.wharf.ok(["tag", "saved:1", name]);
        assert!(site.wharf.ok(["image", "inspect", name]).contains("RepoTags"));
        assert_eq!(site.wharf.ok(["rmi", name]), format!("Untagged: {name}:latest"));
    }
}
