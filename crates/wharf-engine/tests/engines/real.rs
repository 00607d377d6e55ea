//! Found, followed and lost sight of, the same with both engines.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wharf_engine::{Engine, Error, Event, Found};

use super::scene::{Scene, expect, loss};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_containers_are_found() {
    let Some(scene) = Scene::new(Engine::Docker, "docker found") else { return };
    found(&scene).await;
    networks(&scene).await;
    published(&scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_containers_are_found() {
    let Some(scene) = Scene::new(Engine::Podman, "podman found") else { return };
    found(&scene).await;
    networks(&scene).await;
    published(&scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_containers_are_followed() {
    let Some(mut scene) = Scene::new(Engine::Docker, "docker followed") else { return };
    followed(&scene).await;
    lost_and_back(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_containers_are_followed() {
    let Some(mut scene) = Scene::new(Engine::Podman, "podman followed") else { return };
    followed(&scene).await;
    lost_and_back(&mut scene).await;
}

async fn found(scene: &Scene) {
    let id = scene.start("web", &["--expose=80/tcp", "--expose=53/udp"]);
    let web = scene.find("web").await.unwrap();
    assert_eq!((web.id.as_str(), web.name.as_str()), (id.as_str(), "web"));
    assert!(web.running && !web.host_network && !web.rootless);
    assert_eq!(web.network.as_deref(), Some(scene.bridge()));
    assert!(web.ipv4.is_some(), "{web:?}");
    let exposed: Vec<String> = web.exposed.iter().map(ToString::to_string).collect();
    assert_eq!(exposed, ["53/udp", "80/tcp"]);
    assert_eq!(netns(web.sandbox.as_deref().unwrap()), own_netns(&web));
    for name in [id.as_str(), id.get(..12).unwrap()] {
        assert_eq!(scene.find(name).await.unwrap(), web);
    }
    for name in ["wep", "..", "a/b", "", "web?size=1", "json"] {
        let error = scene.find(name).await.unwrap_err();
        assert!(matches!(error, Error::NoContainer { .. }), "{name}: {error}");
    }
    scene.ok(&["stop", "-t", "0", "web"]);
    let web = scene.find("web").await.unwrap();
    assert_eq!((web.running, web.pid, web.ipv4, &web.sandbox), (false, None, None, &None));
}

async fn networks(scene: &Scene) {
    scene.ok(&["network", "create", "zebra"]);
    let subnet = ["--subnet=192.0.2.0/24", "--ipv6", "--subnet=fd05::/64"];
    scene.ok(&[&["network", "create", "apple"], &subnet[..]].concat());
    let macvlan = ["-d", "macvlan", "-o", "parent=eth0", "--subnet=198.51.100.0/24"];
    scene.ok(&[&["network", "create"], &macvlan[..], &["aaa"]].concat());
    scene.start("zoo", &["--network=zebra"]);
    scene.ok(&["network", "connect", "apple", "zoo"]);
    let zoo = scene.find("zoo").await.unwrap();
    assert_eq!(zoo.network.as_deref(), Some("apple"));
    let is_in = |address: Option<IpAddr>, start| address.unwrap().to_string().starts_with(start);
    assert!(is_in(zoo.ipv4.map(Into::into), "192.0.2."), "{zoo:?}");
    assert!(is_in(zoo.ipv6.map(Into::into), "fd05::"), "{zoo:?}");
    let names: Vec<&str> = zoo.networks.iter().map(|network| network.name.as_str()).collect();
    assert_eq!(names, ["apple", "zebra"]);
    assert!(zoo.networks.iter().all(|it| it.driver.as_deref() == Some("bridge")));

    scene.start("lan", &["--network=aaa"]);
    let lan = scene.find("lan").await.unwrap();
    assert_eq!((lan.network.as_deref(), lan.ipv4), (None, None));
    assert_eq!(netns(lan.target(None).inside().unwrap()), own_netns(&lan));

    scene.start("alone", &["--network=none"]);
    let alone = scene.find("alone").await.unwrap();
    assert_eq!((alone.ipv4, alone.ipv6), (None, None));
    assert_eq!(netns(alone.target(None).inside().unwrap()), own_netns(&alone));

    scene.start("beside", &["--network=container:zoo"]);
    let beside = scene.find("beside").await.unwrap();
    assert_eq!(netns(beside.sandbox.as_deref().unwrap()), own_netns(&zoo));

    scene.start("open", &["--network=host"]);
    let open = scene.find("open").await.unwrap();
    assert!(open.host_network && open.running);
    assert_eq!((open.ipv4, &open.sandbox), (None, &None));
}

async fn published(scene: &Scene) {
    scene.start("many", &["-p", "8000-8002:80-82", "-p", "127.0.0.1:5353:53/udp"]);
    let ports = scene.engines.published(scene.engine).await.unwrap();
    let of_many = ports.iter().filter(|port| port.name == "many");
    let v4 = of_many.filter(|port| port.host_address.is_none_or(|address| address.is_ipv4()));
    let texts: Vec<String> = v4
        .flat_map(|port| {
            let address = port.host_address.map_or("0.0.0.0".to_owned(), |it| it.to_string());
            let each = port.host_ports.iter().map(move |number| (address.clone(), number));
            each.map(|(address, number)| format!("{address}:{number}/{}", port.proto))
        })
        .collect();
    let expected =
        ["0.0.0.0:8000/tcp", "0.0.0.0:8001/tcp", "0.0.0.0:8002/tcp", "127.0.0.1:5353/udp"];
    assert_eq!(texts, expected, "{ports:?}");
}

async fn followed(scene: &Scene) {
    let mut watch = scene.engines.watch(scene.engine);
    expect(&mut watch, &Event::Connected).await;
    let id = scene.start("web", &[]);
    expect(&mut watch, &Event::Started { id: id.clone() }).await;
    let before = scene.find("web").await.unwrap();

    // Somebody else takes the address that is free meanwhile.
    scene.ok(&["stop", "-t", "0", "web"]);
    expect(&mut watch, &Event::Stopped { id: id.clone() }).await;
    scene.start("other", &[]);
    scene.ok(&["start", "web"]);
    expect(&mut watch, &Event::Started { id: id.clone() }).await;
    let after = scene.find("web").await.unwrap();
    assert_ne!(after.ipv4, before.ipv4);
    assert_eq!((&after.id, &after.network), (&before.id, &before.network));

    scene.ok(&["network", "create", "blue"]);
    scene.ok(&["network", "connect", "blue", "web"]);
    expect(&mut watch, &Event::Changed { id: id.clone() }).await;
    assert_eq!(scene.find("web").await.unwrap().networks.len(), 2);
    scene.ok(&["network", "disconnect", scene.bridge(), "web"]);
    expect(&mut watch, &Event::Changed { id: id.clone() }).await;
    let moved = scene.find("web").await.unwrap();
    assert_eq!(moved.network.as_deref(), Some("blue"));
    assert_ne!(moved.ipv4, after.ipv4);

    scene.ok(&["rename", "web", "site"]);
    expect(&mut watch, &Event::Changed { id: id.clone() }).await;
    assert_eq!(scene.find(&id).await.unwrap().name, "site");

    scene.ok(&["rm", "-f", "site"]);
    expect(&mut watch, &Event::Removed { id: id.clone() }).await;
    assert!(matches!(scene.find(&id).await, Err(Error::NoContainer { .. })));
}

async fn lost_and_back(scene: &mut Scene) {
    let mut watch = scene.engines.watch(scene.engine);
    expect(&mut watch, &Event::Connected).await;
    scene.kill9();
    let reason = loss(&mut watch).await;
    assert!(reason.starts_with(scene.engine.as_str()), "{reason}");
    let error = scene.find("other").await.unwrap_err();
    assert!(matches!(error, Error::NotRunning { .. }), "{error}");

    scene.start_again();
    expect(&mut watch, &Event::Connected).await;
    let id = scene.find("other").await.unwrap().id;
    scene.ok(&["rm", "-f", "other"]);
    expect(&mut watch, &Event::Removed { id }).await;
}

fn netns(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

fn own_netns(found: &Found) -> u64 {
    netns(Path::new(&format!("/proc/{}/ns/net", found.pid.unwrap())))
}
