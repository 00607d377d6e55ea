//! As much HTTP/1.1 as a test needs: one request, one answer, then the connection ends.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// Longer than any honest answer inside one machine.
const SILENCE: Duration = Duration::from_secs(10);

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with a chunked encoding undone.
    pub body: Vec<u8>,
}

/// Sends `GET path` over `stream` and reads the answer to its end.
///
/// # Errors
/// When the connection breaks, falls silent, or says something that is not HTTP.
pub fn get(stream: TcpStream, host: &str, path: &str) -> Result<Response> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: wharf-lab\r\nConnection: close\r\n\r\n"
    );
    exchange(stream, request.as_bytes())
}

/// Sends `request` over `stream` and reads one answer to its end.
///
/// # Errors
/// As [`get`].
pub fn exchange(mut stream: TcpStream, request: &[u8]) -> Result<Response> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.write_all(request).context("send the request")?;
    parse(&read_answer(&mut stream).context("read the answer")?)
}

/// Sends a request with an optional JSON body to the server on the unix socket `socket` and reads
/// the answer to its end.
///
/// # Errors
/// As [`get`]; also when nobody listens there.
pub fn over_unix(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Result<Response> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let body = body.unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: wharf\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).context("send the request")?;
    parse(&read_answer(&mut stream).context("read the answer")?)
        .with_context(|| format!("{method} {path}"))
}

/// Reads to the end of the stream, or of the body where its length is told: a server may keep the
/// connection although it was asked not to.
fn read_answer(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 65_536];
    let mut whole = None;
    while whole.is_none_or(|whole| answer.len() < whole) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            // A test that was stopped and goes on, by a shell perhaps.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        whole = whole.or_else(|| told_length(&answer));
    }
    Ok(answer)
}

/// The length of header and body together, once the header is there and tells it.
pub(crate) fn told_length(answer: &[u8]) -> Option<usize> {
    let end = find(answer, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(answer.get(..end)?).to_ascii_lowercase();
    let length: usize =
        head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    Some(end + 4 + length)
}

/// Takes an answer apart.
pub(crate) fn parse(answer: &[u8]) -> Result<Response> {
    let end = find(answer, b"\r\n\r\n").with_context(|| {
        format!("no end of the header in {:?}", String::from_utf8_lossy(answer))
    })?;
    let (head, rest) = answer.split_at(end);
    let head = std::str::from_utf8(head).context("the header is not text")?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("not a status line: {first:?}"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = rest.get(4..).unwrap_or_default();
    let response = Response { status, headers, body: body.to_vec() };
    if response.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        return Ok(Response { body: unchunk(body)?, ..response });
    }
    response.whole()
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").context("a chunk without a length")?;
        let (line, after) = rest.split_at(end);
        let line = String::from_utf8_lossy(line);
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).context("a chunk's length")?;
        if length == 0 {
            return Ok(body);
        }
        let chunk = after.get(2..length + 2).context("a chunk that was cut off")?;
        body.extend_from_slice(chunk);
        rest = after.get(length + 4..).context("a chunk without an end")?;
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

// === impl Response ===

impl Response {
    /// The first header field called `name` (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON; the error holds the body.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {}, not JSON: {:?}", self.status, self.text()))
    }

    fn whole(self) -> Result<Self> {
        let Some(told) = self.header("content-length") else { return Ok(self) };
        let told: usize = told.parse().context("content-length")?;
        let got = self.body.len();
        anyhow::ensure!(got == told, "the body was cut off: {got} of {told} bytes");
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b c\r\n\r\n{}").unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-a"), Some("b c"));
        assert_eq!(answer.json().unwrap(), serde_json::json!({}));
    }

    #[test]
    fn reading_ends_where_the_header_says() {
        let kept: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(told_length(kept), Some(kept.len()));
        assert_eq!(told_length(&kept[..20]), None);
        assert_eq!(told_length(b"HTTP/1.1 200 OK\r\n\r\nhi"), None);
    }

    #[test]
    fn chunks_are_joined() {
        let answer = parse(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n",
        );
        assert_eq!(answer.unwrap().text(), "abcd");
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort").is_err());
        assert!(parse(b"").is_err());
        assert!(parse(b"SSH-2.0\r\n\r\n").is_err());
    }
}
