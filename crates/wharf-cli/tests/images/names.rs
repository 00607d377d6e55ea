//! Listing, naming and removing images.

use serde_json::json;

use super::archive::{Layer, Layout};
use super::site::Site;

/// Two names of one image, and another image above the same layer.
fn load(site: &Site) {
    let base = vec![Layer::new().tree(&site.rootfs).build()];
    let mut more = base.clone();
    more.push(Layer::new().file("which", "more").build());
    let config = || json!({"Cmd": ["sh"]});
    let layout = Layout::default()
        .image("tool:1", &base, config())
        .image("example.org:5000/team/tool:stable", &base, config())
        .image("more", &more, config());
    let file = layout.write(site.lab.directory(), "images.tar");
    site.wharf.ok(["load", "-q", "-i", file.to_str().unwrap()]);
}

#[test]
fn images_are_listed_with_stable_fields() {
    let Some(site) = Site::new("images") else { return };
    assert_eq!(site.wharf.json(["images"]), json!([]));
    load(&site);
    let images = site.list();
    assert_eq!(images.len(), 2);
    let tool = images.iter().find(|it| it["names"].as_array().unwrap().len() == 2).unwrap();
    assert_eq!(tool["names"], json!(["example.org:5000/team/tool:stable", "tool:1"]));
    assert_eq!(tool["created"], "2024-02-03T04:05:06Z");
    assert!(tool["size"].as_u64().unwrap() > 1_000_000, "{tool}");
    let id = tool["id"].as_str().unwrap();
    assert_eq!(id.len(), 64);

    let table = site.wharf.ok(["images"]);
    let lines: Vec<&str> = table.lines().collect();
    for column in ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"] {
        assert!(lines[0].contains(column), "{table}");
    }
    assert_eq!(lines.len(), 4, "a line for each name");
    let line = lines.iter().find(|it| it.starts_with("example.org:5000/team/tool ")).unwrap();
    assert!(line.contains(" stable ") && line.contains(&id[..12]), "{line}");
    assert!(table.lines().any(|it| it.starts_with("more ") && it.contains(" latest ")), "{table}");
    let quiet = site.wharf.ok(["images", "-q", "--no-trunc"]);
    assert_eq!(quiet.lines().count(), 2);
    assert!(quiet.contains(id), "{quiet}");

    // By name, tag, id, and the beginning of an id.
    for name in ["tool:1", "docker.io/library/tool:1", id, &id[..12], &format!("sha256:{id}")] {
        assert_eq!(site.sh(name, "echo ok"), "ok", "{name}");
    }
    assert_eq!(site.sh("more", "cat /which"), "more");
    let refused = site.wharf.fails(["run", "--pull=never", "tool:2", "sh"]);
    assert!(refused.stderr.contains("no such image: tool:2"), "{refused:?}");
}

#[test]
fn rmi_takes_names_away_and_with_the_last_one_the_image() {
    let Some(site) = Site::new("rmi") else { return };
    load(&site);
    let id =
        site.list().iter().find(|it| it["names"].as_array().unwrap().len() == 2).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
    let refused = site.wharf.fails(["rmi", &id]);
    assert!(refused.stderr.contains("several names"), "{refused:?}");
    assert_eq!(site.wharf.ok(["rmi", "tool:1"]), "Untagged: tool:1");
    let last = site.wharf.ok(["rmi", "example.org:5000/team/tool:stable"]);
    assert!(
        last.starts_with("Untagged: example.org:5000/team/tool:stable\nDeleted: sha256:"),
        "{last}"
    );
    // The layer stays, as the other image has it, too.
    assert_eq!(site.sh("more", "cat /which"), "more");
    assert_eq!(site.layers(), 2);
    site.wharf.ok(["rmi", "more"]);
    assert_eq!((site.list().len(), site.layers()), (0, 0));
    let refused = site.wharf.fails(["rmi", "more"]);
    assert_eq!(refused.code(), 1);
    assert!(refused.stderr.contains("no such image: more"), "{refused:?}");
    load(&site);
    site.wharf.ok(["rmi", "-f", &id]);
    assert_eq!(site.names().into_iter().collect::<Vec<_>>(), ["more:latest"]);
}

#[test]
fn an_image_in_use_is_kept() {
    let Some(site) = Site::new("in use") else { return };
    load(&site);
    site.wharf.ok(["run", "-d", "--name", "box", "more", "sleep", "1000"]);
    let refused = site.wharf.fails(["rmi", "more"]);
    assert_eq!(refused.code(), 1);
    assert!(refused.stderr.contains("conflict: unable to remove image more"), "{refused:?}");
    // By force only the name goes, as in Docker; the container does not mind.
    assert_eq!(site.wharf.ok(["rmi", "-f", "more"]), "Untagged: more:latest");
    assert_eq!(site.wharf.ok(["exec", "box", "cat", "/which"]), "more");
    site.wharf.ok(["stop", "-t", "0", "box"]);
    site.wharf.ok(["start", "box"]);
    assert_eq!(site.wharf.ok(["exec", "box", "cat", "/which"]), "more");
    site.wharf.ok(["rm", "-f", "box"]);
    let nameless = site.list().into_iter().find(|it| it["names"] == json!([])).unwrap();
    site.wharf.ok(["rmi", nameless["id"].as_str().unwrap()]);
    assert_eq!(site.list().len(), 1);
}

#[test]
fn a_directory_is_an_image_that_is_not_written_to() {
    let Some(site) = Site::new("directory") else { return };
    let image = format!("dir:{}", site.rootfs.display());
    let script = "rm /srv/greeting; echo x > /new; rm -r /home; ls /";
    assert!(site.sh(&image, script).contains("new"));
    assert!(site.rootfs.join("srv/greeting").exists() && site.rootfs.join("home/alice").exists());
    assert!(!site.rootfs.join("new").exists());
    assert_eq!(site.list().len(), 0, "it is not in the store");
    let mut command = site.wharf.command(["run", "--rm", "dir:rootfs", "cat", "/srv/greeting"]);
    command.current_dir(site.lab.directory());
    let output = site.host.output(command, super::docker::LIMIT).unwrap();
    assert_eq!(output.stdout, "hello from the image\n");
    let file = format!("dir:{}", site.rootfs.join("bin/busybox").display());
    assert_eq!(site.wharf.fails(["run", &file, "sh"]).code(), 125);
}

#[test]
fn whoami_is_built_in() {
    let Some(site) = Site::new("built in") else { return };
    site.wharf.ok(["run", "-d", "-P", "--name", "web", "wharf/whoami"]);
    let names: Vec<_> = site.list().iter().map(|it| it["names"].clone()).collect();
    assert_eq!(names, [json!(["wharf/whoami:latest"])]);
    let port = site.wharf.ok(["port", "web", "80/tcp"]);
    let port = port.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    let address = format!("127.0.0.1:{port}");
    let api = wharf_lab::wait::until(super::docker::LIMIT, "an answer", || {
        site.host.http_get(&address, "/api").ok()
    });
    let api = api.unwrap().json().unwrap();
    let found = site.wharf.inspect("web");
    assert_eq!(api["hostname"], found["Config"]["Hostname"]);
    let own = found["NetworkSettings"]["IPAddress"].as_str().unwrap();
    assert!(api["ip"].as_array().unwrap().iter().any(|it| it == own), "{api:#}");
    let text = site.host.http_get(&address, "/").unwrap().text();
    assert!(text.contains(&format!("IP: {own}")) && text.contains("RemoteAddr:"), "{text}");
    let data = site.host.http_get(&address, "/data?size=100000").unwrap();
    assert_eq!(data.body.len(), 100_000);
    let udp = site.wharf.ok(["port", "web", "80/udp"]);
    let udp = udp.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    let answer = site.host.udp_ask(&format!("127.0.0.1:{udp}"), b"12345").unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["size"], 5);
    assert_eq!(answer["hostname"], found["Config"]["Hostname"]);
}
