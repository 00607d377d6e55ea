//! A registry of the tests' own, which can be slow, break off and lie.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use wharf_lab::Host;

use super::archive::{Layout, digest};

/// What it serves and how.
#[derive(Default)]
pub(super) struct Content {
    /// By digest.
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    /// By tag or digest: media type and text.
    pub(super) manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// Bytes a second of each blob.
    pub(super) rate: Option<usize>,
    /// After so many bytes of the largest blob the connection breaks, so many times.
    pub(super) breaks: (usize, usize),
    /// Whether it pays no heed to ranges.
    pub(super) no_ranges: bool,
    /// Sends requests for blobs there.
    pub(super) redirect: Option<String>,
    /// So many requests are answered with 503 first.
    pub(super) busy: usize,
    /// `PATH RANGE` of every request.
    pub(super) requests: Vec<String>,
    /// The `Authorization` of every request, empty when there was none.
    pub(super) authorizations: Vec<String>,
}

/// A running one; dropping it closes its door.
pub(super) struct Stub {
    pub(super) content: Arc<Mutex<Content>>,
    ended: Arc<AtomicBool>,
}

impl Content {
    /// Everything of `layout`, its images by the tags of their names.
    pub(super) fn of(layout: Layout) -> Self {
        let (blobs, described) = layout.into_parts();
        let mut content = Self { blobs, ..Self::default() };
        for manifest in described {
            let own = manifest["digest"].as_str().unwrap().to_owned();
            let text = content.blobs[&own].clone();
            let kind = manifest["mediaType"].as_str().unwrap().to_owned();
            let name = &manifest["annotations"]["org.opencontainers.image.ref.name"];
            let tag = name.as_str().unwrap().rsplit(':').next().unwrap().to_owned();
            content.manifests.insert(own, (kind.clone(), text.clone()));
            content.manifests.insert(tag, (kind, text));
        }
        content
    }

    /// Adds an index of these manifests under `tag`.
    pub(super) fn index(&mut self, tag: &str, entries: &[Value]) -> String {
        let kind = "application/vnd.oci.image.index.v1+json".to_owned();
        let text = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
        let text = serde_json::to_vec(&text).unwrap();
        let own = digest(&text);
        self.manifests.insert(own.clone(), (kind.clone(), text.clone()));
        self.manifests.insert(tag.to_owned(), (kind, text));
        own
    }

    /// The digest of the largest blob: a layer.
    pub(super) fn largest(&self) -> String {
        self.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0.clone()
    }
}

impl Stub {
    pub(super) fn start(host: &Host, address: &str, content: Content) -> Self {
        Self::with(host, address, Arc::new(Mutex::new(content)))
    }

    pub(super) fn with(host: &Host, address: &str, content: Arc<Mutex<Content>>) -> Self {
        let listener = host.tcp_listen(address).unwrap();
        let ended = Arc::<AtomicBool>::default();
        let stub = Self { content: content.clone(), ended: ended.clone() };
        std::thread::spawn(move || accept(&listener, &content, &ended));
        stub
    }

    /// The requests for blobs, `DIGEST RANGE` each.
    pub(super) fn asked_for(&self, digest: &str) -> Vec<String> {
        let content = self.content.lock().unwrap();
        let all = content.requests.iter();
        all.filter(|it| it.contains(&format!("/blobs/{digest}"))).cloned().collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, content: &Arc<Mutex<Content>>, ended: &Arc<AtomicBool>) {
    listener.set_nonblocking(true).unwrap();
    while !ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                let (content, ended) = (Arc::clone(content), Arc::clone(ended));
                // A client that goes away in the middle is part of the play.
                std::thread::spawn(move || serve(stream, &content, &ended).ok());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn serve(
    mut stream: TcpStream,
    content: &Mutex<Content>,
    ended: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    // A TLS hello is no line of HTTP.
    let Some(path) = line.strip_prefix("GET ").and_then(|line| line.split(' ').next()) else {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    };
    let (mut range, mut authorization) = (String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => range = value.trim().to_owned(),
            "authorization" => authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut shared = content.lock().unwrap();
    shared.requests.push(format!("{path} {range}").trim().to_owned());
    shared.authorizations.push(authorization);
    if shared.busy > 0 {
        shared.busy -= 1;
        drop(shared);
        return answer(&mut stream, "503 Service Unavailable", "text/plain", b"busy");
    }
    let wanted = path.rsplit('/').next().unwrap_or_default().to_owned();
    if path.contains("/manifests/") {
        let found = shared.manifests.get(&wanted).cloned();
        drop(shared);
        return match found {
            Some((kind, text)) => answer(&mut stream, "200 OK", &kind, &text),
            None => {
                let text =
                    br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
                answer(&mut stream, "404 Not Found", "application/json", text)
            }
        };
    }
    if path == "/v2/" {
        drop(shared);
        return answer(&mut stream, "200 OK", "application/json", b"{}");
    }
    if let Some(place) = shared.redirect.clone() {
        drop(shared);
        let text = format!(
            "HTTP/1.1 307 Moved\r\nLocation: {place}{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        return stream.write_all(text.as_bytes());
    }
    let largest = shared.largest();
    let Some(bytes) = shared.blobs.get(&wanted).cloned() else {
        drop(shared);
        return answer(&mut stream, "404 Not Found", "text/plain", b"no such blob");
    };
    let first = range.strip_prefix("bytes=").and_then(|it| it.strip_suffix('-'));
    let first = first.filter(|_| !shared.no_ranges);
    let first: usize = first.map_or(0, |first| first.parse().unwrap());
    let rest = &bytes[first.min(bytes.len())..];
    let cut = match shared.breaks {
        (after, times @ 1..) if rest.len() > after && wanted == largest => {
            shared.breaks.1 = times - 1;
            after
        }
        _ => usize::MAX,
    };
    let rate = shared.rate;
    drop(shared);
    let status = match first {
        0 => "200 OK".to_owned(),
        first => format!(
            "206 Partial Content\r\nContent-Range: bytes {first}-{}/{}",
            bytes.len() - 1,
            bytes.len()
        ),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len());
    stream.write_all(head.as_bytes())?;
    for piece in rest[..rest.len().min(cut)].chunks(16 << 10) {
        if ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        stream.write_all(piece)?;
        if let Some(rate) = rate {
            std::thread::sleep(Duration::from_secs_f64(piece.len() as f64 / rate as f64));
        }
    }
    Ok(())
}

fn answer(stream: &mut TcpStream, status: &str, kind: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
