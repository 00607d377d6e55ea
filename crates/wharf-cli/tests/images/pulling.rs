//! Pulling from Debian's registry, filled by skopeo and by Docker, and running what comes.

use serde_json::json;

use super::archive::{Layer, Layout};
use super::server::{ADDRESS, Server};
use super::site::Site;
use super::stub::{Content, Stub};

fn image(site: &Site, name: &str) -> Layout {
    let base = Layer::new().tree(&site.rootfs).build();
    let top = Layer::new().file("which", name).build();
    Layout::default().image(&format!("{name}:1"), &[base, top], json!({"Cmd": ["cat", "/which"]}))
}

#[test]
fn an_image_of_a_registry_is_pulled_and_runs() {
    let Some(site) = Site::new("pull") else { return };
    let Some(server) = Server::start(&site, "") else { return };
    let archive = image(&site, "one").write(site.lab.directory(), "one.tar");
    server.fill(&archive, "team/one:1", &[]);
    let name = format!("{ADDRESS}/team/one:1");
    let said = site.wharf.ok(["pull", &name]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "1: Pulling from team/one");
    assert!(lines.iter().filter(|it| it.ends_with(": Pull complete")).count() == 2, "{said}");
    assert!(lines.iter().any(|it| it.starts_with("Digest: sha256:")), "{said}");
    let status = format!("Status: Downloaded newer image for {name}");
    assert!(lines.contains(&status.as_str()), "{said}");
    assert_eq!(lines.last(), Some(&name.as_str()));
    assert_eq!(site.wharf.ok(["run", "--rm", &name]), "one");

    // Again: nothing is new, and nothing is fetched.
    let said = site.wharf.ok(["pull", &name]);
    assert!(said.contains("Status: Image is up to date for"), "{said}");
    assert!(!said.contains("Downloading") && said.contains(": Already exists"), "{said}");
    assert_eq!(site.wharf.ok(["pull", "-q", &name]), name);
    // By digest, and what Docker calls it.
    let found = site.wharf.inspect(&name);
    let digest = found["RepoDigests"][0].as_str().unwrap().to_owned();
    assert!(digest.starts_with(&format!("{ADDRESS}/team/one@sha256:")), "{found:#}");
    assert_eq!(site.wharf.ok(["run", "--rm", "--pull", "never", &digest]), "one");
    site.wharf.ok(["rmi", &name]);
    assert_eq!((site.list().len(), site.layers()), (0, 0));
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &digest]), "one");
    assert_eq!(site.list()[0]["names"], json!([]));
    site.no_downloads_are_left();
}

#[test]
fn run_pulls_what_is_missing_and_says_so_on_standard_error() {
    let Some(site) = Site::new("implicit") else { return };
    let Some(server) = Server::start(&site, "") else { return };
    server.fill(&image(&site, "one").write(site.lab.directory(), "one.tar"), "one:1", &[]);
    let name = format!("{ADDRESS}/one:1");
    let never = site.wharf.fails(["run", "--rm", "--pull=never", &name]);
    assert_eq!(never.code(), 125);
    assert!(never.stderr.contains(&format!("no such image: {name}")), "{never:?}");
    let ran = site.wharf.run(["run", "--rm", &name]).unwrap();
    assert_eq!((ran.code(), ran.stdout.as_str()), (0, "one"), "{ran:?}");
    assert!(ran.stderr.starts_with(&format!("Unable to find image '{name}' locally\n")), "{ran:?}");
    assert!(ran.stderr.contains(": Pull complete"), "{ran:?}");

    // The name means something else now; only `always` looks.
    server.fill(&image(&site, "two").write(site.lab.directory(), "two.tar"), "one:1", &[]);
    assert_eq!(site.wharf.ok(["run", "--rm", &name]), "one");
    assert_eq!(site.wharf.ok(["run", "--rm", "--pull", "always", &name]), "two");
    let old = site.wharf.ok(["images", "-q", "--filter", "dangling=true"]);
    assert_eq!(old.lines().count(), 1, "the old one has lost its name");
    let pruned = site.wharf.ok(["image", "prune", "-f"]);
    assert!(pruned.contains("Total reclaimed space: "), "{pruned}");
    assert_eq!(site.list().len(), 1);
    let missing = site.wharf.fails(["run", &format!("{ADDRESS}/none:1")]);
    assert_eq!(missing.code(), 125);
    assert!(
        missing.stderr.contains("not found") || missing.stderr.contains("denied"),
        "{missing:?}"
    );
    let missing = site.wharf.fails(["pull", &format!("{ADDRESS}/one:none")]);
    assert_eq!(missing.code(), 1);
    let text = format!("manifest for {ADDRESS}/one:none not found: manifest unknown");
    assert!(missing.stderr.contains(&text), "{missing:?}");
}

#[test]
fn zstd_layers_and_oci_manifests_by_skopeo_are_understood() {
    let Some(site) = Site::new("zstd") else { return };
    let Some(server) = Server::start(&site, "") else { return };
    let archive = image(&site, "packed").write(site.lab.directory(), "packed.tar");
    let options = ["--format", "oci", "--dest-compress-format", "zstd", "--dest-compress"];
    server.fill(&archive, "packed:1", &options);
    let manifest = server.manifest("packed:1");
    assert!(manifest.contains("zstd"), "{manifest}");
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &format!("{ADDRESS}/packed:1")]), "packed");
    server.fill(&archive, "old:1", &["--format", "v2s2"]);
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &format!("{ADDRESS}/old:1")]), "packed");
}

#[test]
fn what_docker_pushes_is_pulled() {
    let Some(site) = Site::new("push") else { return };
    let Some(_server) = Server::start(&site, "") else { return };
    let started = wharf_lab::Docker::start(&site.wharf, &["--iptables=false", "--bridge=none"]);
    let Some(docker) = started.unwrap() else { return };
    let name = format!("{ADDRESS}/site/web:1");
    docker.import(&site.rootfs, &name).unwrap();
    docker.ok(&["push", &name]);
    let id = docker.ok(&["inspect", "--format", "{{.Id}}", &name]);
    drop(docker);
    assert_eq!(
        site.wharf.ok(["run", "--rm", "-q", &name, "cat", "/srv/greeting"]),
        "hello from the image"
    );
    assert_eq!(site.wharf.inspect(&name)["Id"].as_str().unwrap(), id);
}

#[test]
fn of_an_index_the_image_for_the_platform_is_taken() {
    let Some(site) = Site::new("platforms") else { return };
    let here = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let other = if here == "amd64" { "arm64" } else { "amd64" };
    let mut content = Content::of(image(&site, "here"));
    let text = |content: &Content, tag: &str| content.manifests[tag].clone();
    let own = super::archive::digest(&text(&content, "1").1);
    // The same image in a configuration that says something else.
    let mut config: serde_json::Value = {
        let manifest: serde_json::Value = serde_json::from_slice(&text(&content, "1").1).unwrap();
        serde_json::from_slice(&content.blobs[manifest["config"]["digest"].as_str().unwrap()])
            .unwrap()
    };
    config["architecture"] = other.into();
    let config = serde_json::to_vec(&config).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&text(&content, "1").1).unwrap();
    manifest["config"]["digest"] = super::archive::digest(&config).into();
    manifest["config"]["size"] = config.len().into();
    content.blobs.insert(super::archive::digest(&config), config);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let foreign = super::archive::digest(&manifest);
    let kind = text(&content, "1").0;
    content.manifests.insert(foreign.clone(), (kind.clone(), manifest));
    let entry = |digest: &str, arch: &str| {
        json!({"mediaType": kind, "digest": digest, "size": 1,
            "platform": {"os": "linux", "architecture": arch}})
    };
    let index = content.index("both", &[entry(&foreign, other), entry(&own, here)]);
    let _stub = Stub::start(&site.host, ADDRESS, content);
    let name = format!("{ADDRESS}/x:both");
    let said = site.wharf.ok(["pull", &name]);
    assert!(said.contains(&format!("Digest: {index}")), "{said}");
    assert_eq!(site.wharf.inspect(&name)["Architecture"], here);
    site.wharf.ok(["pull", "-q", "--platform", &format!("linux/{other}"), &name]);
    assert_eq!(site.wharf.inspect(&name)["Architecture"], other);
    let refused =
        site.wharf.fails(["run", "--pull=never", "--platform", &format!("linux/{here}"), &name]);
    assert!(refused.stderr.contains("does not match the specified platform"), "{refused:?}");
    assert_eq!(site.wharf.ok(["run", "-q", "--rm", "--platform", here, &name]), "here");
    let refused = site.wharf.fails(["pull", "--platform", "linux/s390x", &name]);
    assert!(refused.stderr.contains("no matching manifest for linux/s390x"), "{refused:?}");
    let refused = site.wharf.fails(["pull", "--platform", "windows/amd64", &name]);
    assert!(refused.stderr.contains("invalid platform"), "{refused:?}");
    // One that is for another platform alone is not taken in silence.
    let refused = site.wharf.fails(["pull", &format!("{ADDRESS}/x@{foreign}")]);
    assert!(refused.stderr.contains("--platform"), "{refused:?}");
}
