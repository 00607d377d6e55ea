//! What is not what it should be is not taken: digests, redirects, manifests, registries.

use serde_json::json;

use super::archive::{Layer, Layout};
use super::site::Site;
use super::stub::{Content, Stub};

const STUB: &str = "127.0.0.1:5001";

fn content(site: &Site) -> Content {
    let base = Layer::new().tree(&site.rootfs).build();
    let top = Layer::new().file("which", "good").build();
    let config = json!({"Cmd": ["cat", "/which"]});
    Content::of(Layout::default().image("x:1", &[base, top], config))
}

fn refused(site: &Site, name: &str) -> String {
    let refused = site.wharf.fails(["pull", &format!("{STUB}/{name}")]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert_eq!(site.list(), [] as [serde_json::Value; 0], "{name}");
    assert_eq!(site.layers(), 0, "{name}");
    refused.stderr
}

#[test]
fn a_layer_with_another_digest_is_refused_and_never_run() {
    let Some(site) = Site::new("layer digest") else { return };
    let mut content = content(&site);
    let layer = content.largest();
    let middle = content.blobs[&layer].len() / 2;
    content.blobs.get_mut(&layer).unwrap()[middle] ^= 1;
    let stub = Stub::start(&site.host, STUB, content);
    let text = refused(&site, "x:1");
    assert!(text.contains("damaged blob: its digest is sha256:"), "{text}");
    assert!(text.contains(&layer), "{text}");
    let run = site.wharf.fails(["run", "--rm", &format!("{STUB}/x:1")]);
    assert_eq!((run.code(), run.stdout.as_str()), (125, ""));
    // A registry that is mended serves again: nothing wrong was kept.
    stub.content.lock().unwrap().blobs.get_mut(&layer).unwrap()[middle] ^= 1;
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &format!("{STUB}/x:1")]), "good");
}

#[test]
fn what_an_earlier_pull_left_damaged_is_fetched_anew() {
    let Some(site) = Site::new("left damaged") else { return };
    let content = content(&site);
    let layer = content.largest();
    let half = content.blobs[&layer].len() / 2;
    let _stub = Stub::start(&site.host, STUB, content);
    site.wharf.ok(["images"]);
    let part = site.wharf.state_dir().join("images/downloads");
    std::fs::write(part.join(layer.strip_prefix("sha256:").unwrap()), vec![7; half]).unwrap();
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &format!("{STUB}/x:1")]), "good");
}

#[test]
fn manifests_and_configurations_with_other_digests_are_refused() {
    let Some(site) = Site::new("manifest digest") else { return };
    let mut content = content(&site);
    let (kind, text) = content.manifests["1"].clone();
    let other = super::archive::digest(b"other");
    content.manifests.insert(other.clone(), (kind.clone(), text.clone()));
    let mut both: serde_json::Value = serde_json::from_slice(&text).unwrap();
    both["manifests"] = json!([]);
    content.manifests.insert("both".into(), (kind.clone(), serde_json::to_vec(&both).unwrap()));
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let stub = Stub::start(&site.host, STUB, content);
    let text = refused(&site, &format!("x@{other}"));
    assert!(text.contains("damaged manifest"), "{text}");
    let text = refused(&site, "x:both");
    assert!(text.contains("an image and an index at once"), "{text}");
    let mut content = stub.content.lock().unwrap();
    let bytes = content.blobs.get_mut(&config).unwrap();
    let last = bytes.iter().rposition(|byte| *byte == b'}').unwrap();
    bytes[last] = b' ';
    drop(content);
    let text = refused(&site, "x:1");
    assert!(text.contains("damaged blob"), "{text}");
}

#[test]
fn a_redirect_is_followed_without_the_registrys_secrets() {
    let Some(site) = Site::new("redirect") else { return };
    let mut first = content(&site);
    let second = content(&site);
    first.redirect = Some("http://127.0.0.1:5002".to_owned());
    let _registry = Stub::start(&site.host, STUB, first);
    let store = Stub::start(&site.host, "127.0.0.1:5002", second);
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &format!("{STUB}/x:1")]), "good");
    let content = store.content.lock().unwrap();
    assert!(content.requests.len() >= 3, "{:?}", content.requests);
    assert!(content.authorizations.iter().all(String::is_empty));
}

#[test]
fn plain_http_is_for_this_machine_and_for_those_that_are_named() {
    let Some(site) = Site::with_cable("plain") else { return };
    let _stub = Stub::start(&site.remote, "10.1.0.1:5000", content(&site));
    let name = "10.1.0.1:5000/x:1";
    let refused = site.wharf.fails(["pull", name]);
    assert!(refused.stderr.contains("--insecure-registry"), "{refused:?}");
    site.wharf.ok(["shutdown"]);
    let daemon =
        site.wharf.daemon_with([("WHARF_INSECURE_REGISTRIES", "10.1.0.0/24,other:1")]).unwrap();
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", name]), "good");
    daemon.stop().unwrap();
    let bad = site.wharf.daemon_with([("WHARF_INSECURE_REGISTRIES", "http://x")]);
    assert!(format!("{:#}", bad.unwrap_err()).contains("leave the scheme out"));
}

const CERTIFICATE: &str = "[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n\
    subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n";

#[test]
fn a_certificate_must_be_good_even_of_a_registry_that_may_do_without() {
    let Some(site) = Site::new("certificate") else { return };
    let place = |name: &str| site.lab.directory().join(name).display().to_string();
    std::fs::write(place("req.conf"), CERTIFICATE).unwrap();
    let line = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=registry";
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(line.split(' ')).args(["-config", &place("req.conf")]);
    openssl.args(["-keyout", &place("key.pem"), "-out", &place("cert.pem")]);
    let made = site.host.output(openssl, super::server::LIMIT).unwrap();
    assert!(made.is_success(), "{made:?}");
    let tls =
        format!("  tls:\n    certificate: {}\n    key: {}\n", place("cert.pem"), place("key.pem"));
    let Some(server) = super::server::Server::start(&site, &tls) else { return };
    let base = Layer::new().tree(&site.rootfs).file("which", "safe").build();
    let layout = Layout::default().image("x:1", &[base], json!({"Cmd": ["cat", "/which"]}));
    server.fill(&layout.write(site.lab.directory(), "x.tar"), "x:1", &[]);
    let name = format!("{}/x:1", super::server::ADDRESS);
    let refused = site.wharf.fails(["pull", &name]);
    assert!(refused.stderr.contains("certificate"), "{refused:?}");
    assert!(refused.stderr.contains("/etc/docker/certs.d/"), "{refused:?}");
    site.wharf.ok(["shutdown"]);
    let daemon = site.wharf.daemon_with([("SSL_CERT_FILE", place("cert.pem").as_str())]).unwrap();
    assert_eq!(site.wharf.ok(["run", "--rm", "-q", &name]), "safe");
    daemon.stop().unwrap();
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    let Some(site) = Site::new("absent") else { return };
    let text = refused(&site, "x:1");
    assert!(text.contains(&format!("registry {STUB}: cannot connect")), "{text}");
    for bad in ["a/Y", "a:b:c", "x@sha256:1", ""] {
        let refused = site.wharf.fails(["pull", bad]);
        assert!(refused.stderr.contains("invalid reference format"), "{bad}: {refused:?}");
    }
}
