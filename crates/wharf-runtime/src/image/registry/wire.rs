//! One request over one connection: name lookup, proxy, TLS, HTTP/1.1, each with a limit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::place::{Place, Scheme};
use super::proxy::{Proxies, Proxy};
use crate::error::Error;

/// Name lookup and connection; what takes longer does not come.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Registries look a blob up in a store of theirs before they answer.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// What a proxy says before it passes bytes on.
const PROXY_HEAD_LIMIT: usize = 8 << 10;
const AGENT: &str = concat!("wharf/", env!("CARGO_PKG_VERSION"));

/// Where systems keep the authorities they trust: Debian, Fedora, SUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Docker's place for the authority of one registry.
const CERTIFICATES: &str = "/etc/docker/certs.d";

/// Why a request got no answer to work with, and whether asking again may help.
#[derive(Debug)]
pub(super) enum Fault {
    /// It may, after a pause the other side may have asked for.
    Again(Error, Option<Duration>),
    /// Nobody is there: whoever has been there before may come back.
    Absent(Error),
    Final(Error),
}

/// Makes connections.
#[derive(Debug, Default)]
pub(super) struct Wire {
    proxies: Proxies,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

// === impl Fault ===

impl Fault {
    pub(super) fn again(place: &Place, reason: impl std::fmt::Display) -> Self {
        Self::Again(refused(place, reason), None)
    }

    pub(super) fn last(place: &Place, reason: impl std::fmt::Display) -> Self {
        Self::Final(refused(place, reason))
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Again(error, _) | Self::Absent(error) | Self::Final(error) => error,
        }
    }
}

pub(super) fn refused(place: &Place, reason: impl std::fmt::Display) -> Error {
    Error::Registry { registry: place.authority.clone(), reason: reason.to_string() }
}

// === impl Wire ===

impl Wire {
    pub(super) fn from_env() -> Self {
        Self { proxies: Proxies::from_env() }
    }

    /// Whether `place` speaks TLS.
    ///
    /// # Errors
    /// Nobody is there, or its certificate is not to be trusted.
    pub(super) async fn speaks_tls(&self, place: &Place) -> Result<bool, Fault> {
        let stream = self.open(place).await?;
        let Ok(secured) = timeout(CONNECT_LIMIT, secure(place, stream)).await else {
            return Ok(false);
        };
        match secured {
            Ok(_) => Ok(true),
            Err(error) if distrusts(&error) => Err(Fault::last(place, tls_reason(&error))),
            Err(_) => Ok(false),
        }
    }

    /// Sends `request` to `place` and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        place: &Place,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Fault> {
        let stream = self.connect(place).await?;
        let headers = request.headers_mut();
        let host = place.authority.parse().map_err(|e| Fault::last(place, e))?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, hyper::header::HeaderValue::from_static(AGENT));
        *request.uri_mut() = place.path.parse().map_err(|e| Fault::last(place, e))?;
        let exchange = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the body of the answer, or when nobody wants that any more.
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let answer = timeout(ANSWER_LIMIT, exchange).await.map_err(|_| {
            Fault::again(place, format!("no answer within {} s", ANSWER_LIMIT.as_secs()))
        })?;
        let answer = answer.map_err(|e| Fault::again(place, chain(&e)))?;
        match is_passing(answer.status()) {
            true => {
                let pause = retry_after(&answer);
                let said = said(answer).await;
                Err(Fault::Again(refused(place, said), pause))
            }
            false => Ok(answer),
        }
    }

    async fn connect(&self, place: &Place) -> Result<Box<dyn Stream>, Fault> {
        let stream = self.open(place).await?;
        if place.scheme == Scheme::Http {
            return Ok(Box::new(stream));
        }
        let secured = timeout(CONNECT_LIMIT, secure(place, stream));
        let secured = secured.await.map_err(|_| Fault::again(place, "no TLS handshake in time"))?;
        match secured {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(Fault::last(place, tls_reason(&error))),
        }
    }

    async fn open(&self, place: &Place) -> Result<TcpStream, Fault> {
        let proxy = self.proxies.of(place).map_err(|why| Fault::last(place, why))?;
        let first = proxy.as_ref().map_or(place, |proxy| &proxy.place);
        let connected = timeout(CONNECT_LIMIT, TcpStream::connect((first.host(), first.port())));
        let stream = match connected.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(Fault::Absent(refused(first, format!("cannot connect: {error}"))));
            }
            Err(_) => {
                let limit = CONNECT_LIMIT.as_secs();
                return Err(Fault::Absent(refused(first, format!("no connection in {limit} s"))));
            }
        };
        match proxy {
            None => Ok(stream),
            Some(proxy) => match timeout(CONNECT_LIMIT, tunnel(stream, &proxy, place)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(Fault::last(place, format!("by proxy: {error}"))),
                Err(_) => Err(Fault::again(place, "the proxy does not answer")),
            },
        }
    }
}

/// Asks `proxy` for a connection to `place`.
async fn tunnel(mut stream: TcpStream, proxy: &Proxy, place: &Place) -> io::Result<TcpStream> {
    let host = match place.host() {
        address if address.contains(':') => format!("[{address}]:{}", place.port()),
        name => format!("{name}:{}", place.port()),
    };
    let mut text = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(authorization) = &proxy.authorization {
        text += &format!("Proxy-Authorization: {authorization}\r\n");
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > PROXY_HEAD_LIMIT {
            return Err(io::Error::other("its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&head);
    let line = line.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(stream),
        _ => Err(io::Error::other(line.to_owned())),
    }
}

async fn secure(
    place: &Place,
    stream: TcpStream,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let authority = place.authority.clone();
    // Reading a hundred certificates is no work for a thread that serves others.
    let config = tokio::task::spawn_blocking(move || trust(&authority)).await??;
    let name = ServerName::try_from(place.host().to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn trust(authority: &str) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let chosen = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let bundles = match chosen {
        Some(path) => vec![PathBuf::from(path)],
        None => BUNDLES.iter().map(PathBuf::from).collect(),
    };
    if let Some(bundle) = bundles.iter().find(|path| path.exists()) {
        add(&mut roots, bundle)?;
    }
    let own = Path::new(CERTIFICATES).join(authority);
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "crt") {
            add(&mut roots, &entry.path())?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn add(roots: &mut RootCertStore, bundle: &Path) -> io::Result<()> {
    let broken = |e| io::Error::other(format!("read {}: {e}", bundle.display()));
    for certificate in CertificateDer::pem_file_iter(bundle).map_err(broken)? {
        // Bundles carry authorities of forms nobody uses for servers; those are left out.
        let _left_out = roots.add(certificate.map_err(broken)?);
    }
    Ok(())
}

/// Whether the other side speaks TLS and is not who it should be.
fn distrusts(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

fn tls_reason(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => {
            format!("{error}; put its authority's certificate into {CERTIFICATES}/HOST:PORT/ca.crt")
        }
        _ => format!(
            "no TLS: {error}; if it speaks plain HTTP, allow that with `wharf daemon \
             --insecure-registry HOST:PORT`"
        ),
    }
}

/// Whether the same may be answered another way in a moment.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_after(answer: &Response<Incoming>) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body of an answer, which must not be larger than `limit` nor take for ever.
pub(super) async fn collect(
    place: &Place,
    answer: Response<Incoming>,
    limit: usize,
) -> Result<Bytes, Fault> {
    let body = Limited::new(answer.into_body(), limit).collect();
    match timeout(ANSWER_LIMIT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Fault::last(place, format!("{place} is larger than {limit} bytes")))
        }
        Ok(Err(error)) => Err(Fault::again(place, format!("reading {place}: {error}"))),
        Err(_) => Err(Fault::again(place, format!("reading {place} took too long"))),
    }
}

/// What a refusal says, in the form of the distribution specification or as it is.
pub(super) async fn said(answer: Response<Incoming>) -> String {
    /// Longer texts are pages for browsers.
    const TEXT_LIMIT: usize = 300;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), 64 << 10).collect();
    let body = timeout(ANSWER_LIMIT, body).await.ok().and_then(Result::ok);
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if let Some(text) = specified(&body) {
        return text;
    }
    match std::str::from_utf8(&body).map(str::trim) {
        Ok(text) if !text.is_empty() && text.len() < TEXT_LIMIT && !text.starts_with('<') => {
            format!("{status}: {text}")
        }
        _ => status.to_string(),
    }
}

fn specified(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    if let Some(first) = value.get("errors").and_then(|errors| errors.get(0)) {
        let code = first.get("code").and_then(&text).unwrap_or_default();
        let code = code.to_ascii_lowercase().replace('_', " ");
        let message = first.get("message").and_then(&text).unwrap_or_default();
        return Some(format!("{code}: {message}"));
    }
    value.get("details").or_else(|| value.get("error")).and_then(text)
}

/// An error and what it came from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}
