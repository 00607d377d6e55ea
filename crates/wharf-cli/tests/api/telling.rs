//! What the daemon tells by itself: events and metrics.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use super::site::{LIMIT, Site};

/// A listener for events.
struct Listener(BufReader<UnixStream>);

impl Listener {
    fn new(site: &Site) -> Self {
        let mut stream = UnixStream::connect(site.wharf.run_dir().join("wharf.sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET /v1/events HTTP/1.1\r\nHost: wharf\r\n\r\n").unwrap();
        let mut listener = Self(BufReader::new(stream));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            listener.0.read_line(&mut head).unwrap();
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        listener
    }

    /// The next event.
    fn next(&mut self) -> Value {
        let before = Instant::now();
        let mut kind = None;
        while before.elapsed() < LIMIT {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if let Some(text) = line.strip_prefix("event: ") {
                kind = Some(text.trim().to_owned());
            }
            if let Some(text) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(text).unwrap();
                assert_eq!(kind.as_deref(), event["kind"].as_str());
                return event;
            }
        }
        panic!("no event within {LIMIT:?}");
    }
}

#[test]
fn the_life_of_a_container_is_told_as_it_happens() {
    let Some(site) = Site::new("events") else { return };
    let _daemon = site.wharf.daemon().unwrap();
    let mut listeners = [Listener::new(&site), Listener::new(&site)];
    let id = site.run("web");
    site.wharf.ok(["stop", "-t", "0", "web"]);
    site.wharf.ok(["start", "web"]);
    site.wharf.ok(["rm", "-f", "web"]);
    for listener in &mut listeners {
        let mut actions = Vec::new();
        while actions.last().is_none_or(|last| last != "destroy") {
            let event = listener.next();
            if event["kind"] != "container" {
                continue;
            }
            assert_eq!((event["id"].as_str(), event["name"].as_str()), (Some(&*id), Some("web")));
            let time = event["time"].as_str().unwrap();
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{event}");
            actions.push(event["action"].as_str().unwrap().to_owned());
        }
        assert_eq!(actions, ["create", "start", "die", "start", "die", "destroy"]);
    }
}

#[test]
fn the_verb_prints_each_event_on_a_line_of_its_own() {
    let Some(site) = Site::new("events printed") else { return };
    let _daemon = site.wharf.daemon().unwrap();
    let verb = site.wharf.spawn(["events", "--format", "json"]).unwrap();
    // It does not say when it listens, so it is given something to hear until it does.
    let heard = wharf_lab::wait::until(LIMIT, "an event", || {
        let id = site.wharf.ok(["create", "--name", "heard", site.image(), "true"]);
        site.wharf.ok(["rm", &id]);
        let printed = verb.stdout();
        let mut events = printed.lines().map_while(|it| serde_json::from_str::<Value>(it).ok());
        events.find(|event| event["action"] == "destroy")
    });
    let heard = heard.unwrap_or_else(|error| panic!("{error}: {}", verb.stderr()));
    assert_eq!((&heard["kind"], &heard["name"]), (&"container".into(), &"heard".into()));
}

/// Name and labels, and the value, of every sample.
fn samples(text: &str) -> Vec<(String, f64)> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line:?}")))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

#[test]
fn metrics_have_the_documented_names() {
    let Some(site) = Site::new("metrics") else { return };
    site.run("web");
    site.wharf.ok(["create", "--name", "idle", site.image(), "true"]);
    let _held = site.host.tcp_listen("0.0.0.0:9000").unwrap();
    site.wharf.fails(["run", "-p", "9000:80", "--name", "late", site.image(), "true"]);
    let answer = site.call("GET", "/metrics", None);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let text = answer.text();
    let samples = samples(&text);
    let value = |name: &str| {
        let found = samples.iter().find(|(it, _)| it == name);
        found.unwrap_or_else(|| panic!("{name} is not in\n{text}")).1
    };
    assert_eq!(value("wharf_containers{state=\"running\"}"), 1.0);
    assert_eq!(value("wharf_containers{state=\"created\"}"), 1.0);
    assert_eq!(value("wharf_container_starts_total"), 1.0);
    assert_eq!(value("wharf_container_start_failures_total"), 1.0);
    assert_eq!(value("wharf_reservation_failures_total"), 1.0);
    assert_eq!(value("wharf_relay_restarts_total"), 0.0);
    assert_eq!(value("wharf_relayed_bytes"), 0.0);
    assert!(value("wharf_reconcile_seconds_count") >= 1.0);
    let publications = samples.iter().filter(|(name, _)| name.starts_with("wharf_publications{"));
    assert_eq!(publications.map(|(_, value)| value).sum::<f64>(), 1.0, "{text}");

    // The page lists what there is, and there is what it lists.
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `wharf_"));
    let mut listed: Vec<String> =
        rows.map(|row| format!("wharf_{}", row.split('`').next().unwrap())).collect();
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut told: Vec<String> = kinds
        .map(|line| match line.split_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, _) => name.to_owned(),
        })
        .collect();
    listed.sort();
    told.sort();
    assert_eq!(listed, told, "docs/metrics.md against /metrics");
}

#[test]
fn bytes_that_the_relay_carries_are_counted() {
    let Some(site) = Site::new("bytes") else { return };
    site.wharf.ok(["run", "-d", "-p", "8080:80,via=relay", "wharf/whoami"]);
    let size = 1_000_000;
    let page = wharf_lab::wait::until(LIMIT, "an answer", || {
        site.host.http_get("127.0.0.1:8080", &format!("/data?size={size}")).ok()
    });
    assert_eq!(page.unwrap().body.len(), size);
    let counted = wharf_lab::wait::until(LIMIT, "the bytes to be counted", || {
        let found = samples(&site.call("GET", "/metrics", None).text());
        let (_, bytes) = found.into_iter().find(|(name, _)| name == "wharf_relayed_bytes")?;
        (bytes > size as f64).then_some(bytes)
    });
    assert!(counted.unwrap() < size as f64 * 2.0);
    let entry = site.wharf.json(["ports"])[0].clone();
    assert!(entry["bytes_out"].as_u64().unwrap() > 1_000_000, "{entry}");
}
