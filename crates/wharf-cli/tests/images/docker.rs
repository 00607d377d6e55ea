//! What a real Docker saves.
//!
//! Debian's Docker runs in the test host with neither bridge nor firewall rules: enough to import,
//! commit and save.

use std::time::Duration;

use wharf_lab::{Docker, wait};

use super::archive::{Layer, gzip};
use super::site::Site;

pub(super) const LIMIT: Duration = Duration::from_secs(30);

fn docker(site: &Site) -> Option<Docker> {
    Docker::start(&site.wharf, &["--iptables=false", "--bridge=none"]).unwrap()
}

/// Imports the tree as `site/web:1` and adds a layer and a second name as `site/web:2`.
fn build(docker: &Docker, site: &Site) {
    let tar = docker.directory().join("rootfs.tar");
    std::fs::write(&tar, Layer::new().tree(&site.rootfs).build()).unwrap();
    let changes = [
        "ENV COLOUR=red",
        "ENV PATH=/bin:/sbin",
        "EXPOSE 80/tcp",
        "WORKDIR /srv",
        r#"CMD ["httpd", "-f", "-p", "80", "-h", "/srv"]"#,
        "LABEL from=docker",
    ];
    let mut import = vec!["import"];
    import.extend(changes.iter().flat_map(|change| ["--change", change]));
    import.extend([tar.to_str().unwrap(), "site/web:1"]);
    docker.ok(&import);
    // A second layer without running anything: a file is copied into a container that never ran.
    let container = docker.ok(&["create", "--network=none", "site/web:1"]);
    let page = docker.directory().join("page");
    std::fs::write(&page, "made by docker\n").unwrap();
    docker.ok(&["cp", page.to_str().unwrap(), &format!("{container}:/srv/page")]);
    docker.ok(&["commit", &container, "site/web:2"]);
    docker.ok(&["tag", "site/web:2", "registry.example:5000/site/web:again"]);
}

#[test]
fn a_real_docker_save_is_loaded_and_runs() {
    let Some(site) = Site::new("docker save") else { return };
    let Some(docker) = docker(&site) else { return };
    build(&docker, &site);
    let file = site.lab.directory().join("saved.tar");
    let path = file.to_str().unwrap();
    docker.ok(&[
        "save",
        "-o",
        path,
        "site/web:1",
        "site/web:2",
        "registry.example:5000/site/web:again",
    ]);
    let said = docker.ok(&["inspect", "--format", "{{.Id}}", "site/web:2"]);
    drop(docker);

    let loaded = site.wharf.ok(["load", "-i", path]);
    let mut lines: Vec<&str> = loaded.lines().collect();
    lines.sort_unstable();
    let wanted = [
        "Loaded image: registry.example:5000/site/web:again",
        "Loaded image: site/web:1",
        "Loaded image: site/web:2",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(site.layers(), 2, "the shared layer is there once");
    // The id is Docker's own.
    let found = site.wharf.inspect("site/web:2");
    assert_eq!(found["Id"].as_str().unwrap(), said, "{found:#}");

    site.wharf.ok(["run", "-d", "-P", "--name", "web", "site/web:2"]);
    let port = site.wharf.ok(["port", "web", "80"]);
    let port = port.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    let page = wait::until(LIMIT, "the page", || {
        site.host.http_get(&format!("127.0.0.1:{port}"), "/page").ok()
    });
    assert_eq!(page.unwrap().text(), "made by docker\n");
    assert_eq!(
        site.wharf.ok(["exec", "web", "sh", "-c", "echo $COLOUR $PATH; pwd"]),
        "red /bin:/sbin\n/srv"
    );
    let found = site.wharf.inspect("web");
    assert_eq!(found["Config"]["Labels"]["from"], "docker");
    assert_eq!(site.sh("site/web:1", "ls /srv"), "greeting");
}

#[test]
fn a_docker_save_is_read_from_a_pipe_or_named_as_a_source() {
    let Some(site) = Site::new("docker archive") else { return };
    let Some(docker) = docker(&site) else { return };
    build(&docker, &site);
    let directory = site.lab.directory().to_owned();
    let one = directory.join("one.tar");
    docker.ok(&["save", "-o", one.to_str().unwrap(), "site/web:2"]);
    let both = directory.join("both.tar");
    docker.ok(&["save", "-o", both.to_str().unwrap(), "site/web:1", "site/web:2"]);
    drop(docker);

    let source = format!("docker-archive:{}", one.display());
    assert_eq!(site.sh(&source, "cat page"), "made by docker");
    assert_eq!(site.names().into_iter().collect::<Vec<_>>(), ["site/web:2"]);
    site.wharf.ok(["rmi", "site/web:2"]);
    assert_eq!((site.list().len(), site.layers()), (0, 0));

    let mut load = site.wharf.spawn(["load"]).unwrap();
    load.feed(&std::fs::read(&one).unwrap()).unwrap();
    assert_eq!(load.output(LIMIT).unwrap().stdout, "Loaded image: site/web:2\n");
    let compressed = directory.join("one.tar.gz");
    std::fs::write(&compressed, gzip(&std::fs::read(&one).unwrap())).unwrap();
    let source = format!("docker-archive:{}", compressed.display());
    assert_eq!(site.sh(&source, "cat page"), "made by docker");

    let source = format!("docker-archive:{}", both.display());
    let refused = site.wharf.fails(["run", "--rm", &source]);
    assert!(refused.stderr.contains("several images"), "{refused:?}");
    assert_eq!(site.sh(&format!("{source}:site/web:1"), "ls /srv"), "greeting");
    let refused = site.wharf.fails(["run", "--rm", &format!("{source}:site/web:3")]);
    assert!(refused.stderr.contains("no image site/web:3"), "{refused:?}");
    let refused = site.wharf.fails(["run", "--rm", &format!("oci-archive:{}", one.display())]);
    assert!(refused.stderr.contains("index.json"), "{refused:?}");
}
