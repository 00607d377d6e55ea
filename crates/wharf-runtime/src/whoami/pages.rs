//! What there is to see.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::json;

use crate::whoami::request::Request;
use crate::whoami::{addresses, hostname};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
/// A minute at 1.4 Gbit/s; more is a mistake.
const DATA_LIMIT: u64 = 10 << 30;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: &'static str,
    pub(super) kind: String,
    pub(super) body: Body,
}

/// What an answer carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Bytes(Vec<u8>),
    /// So many bytes of no meaning.
    Filler(u64),
}

// === impl Page ===

impl Page {
    pub(super) fn text(status: &'static str, text: String) -> Self {
        Self { status, kind: TEXT.to_owned(), body: Body::Bytes(text.into_bytes()) }
    }
}

// === impl Body ===

impl Body {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Filler(length) => *length,
        }
    }
}

/// The answer to `request` from `peer`.
pub(super) fn answer(request: &Request, body: Vec<u8>, peer: SocketAddr) -> Page {
    match request.path() {
        "/" => Page::text("200 OK", overview(request, peer)),
        "/api" => api(request, peer),
        "/data" => data(request),
        "/health" => Page::text("200 OK", "OK\n".to_owned()),
        "/echo" => {
            let kind = request.header("content-type").unwrap_or(BYTES).to_owned();
            Page { status: "200 OK", kind, body: Body::Bytes(body) }
        }
        _ => Page::text("404 Not Found", "404 page not found\n".to_owned()),
    }
}

fn overview(request: &Request, peer: SocketAddr) -> String {
    let mut text = format!("Hostname: {}\n", hostname());
    for address in addresses() {
        let _infallible = writeln!(text, "IP: {address}");
    }
    let _infallible = writeln!(text, "RemoteAddr: {peer}");
    let Request { method, target, version, headers } = request;
    let _infallible = writeln!(text, "{method} {target} {version}");
    for (name, value) in headers {
        let _infallible = writeln!(text, "{name}: {value}");
    }
    text.push('\n');
    text
}

fn api(request: &Request, peer: SocketAddr) -> Page {
    let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &request.headers {
        headers.entry(name).or_default().push(value);
    }
    let value = json!({
        "hostname": hostname(),
        "ip": addresses(),
        "remoteAddr": peer.to_string(),
        "headers": headers,
        "url": request.target,
        "host": request.header("host").unwrap_or_default(),
        "method": request.method,
    });
    let body = Body::Bytes(format!("{value}\n").into_bytes());
    Page { status: "200 OK", kind: JSON.to_owned(), body }
}

fn data(request: &Request) -> Page {
    let factor: u64 = match request.query("unit").unwrap_or("B").to_ascii_uppercase().as_str() {
        "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => 0,
    };
    let size = request.query("size").unwrap_or("1").parse::<u64>().ok();
    match size.and_then(|size| size.checked_mul(factor)) {
        Some(size) if size <= DATA_LIMIT && factor > 0 => {
            Page { status: "200 OK", kind: BYTES.to_owned(), body: Body::Filler(size) }
        }
        _ => Page::text(
            "400 Bad Request",
            format!(
                "size must be a number of up to {DATA_LIMIT} bytes, unit one of B, KB, MB, GB\n"
            ),
        ),
    }
}
