//! Reads HTTP/1 requests, within limits.

use std::io::{self, BufRead, ErrorKind, Read};

/// More than browsers send.
const HEAD_LIMIT: u64 = 32 << 10;
const HEADERS_LIMIT: usize = 200;
/// Bodies are echoed from memory.
const BODY_LIMIT: u64 = 16 << 20;
/// `FFFFFFFF;extension` and some air.
const CHUNK_LINE_LIMIT: u64 = 1024;

/// A request without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) version: String,
    /// In the order they came, names as written.
    pub(super) headers: Vec<(String, String)>,
}

/// Why a request cannot be served; the connection ends with the status.
#[derive(Debug)]
pub(super) enum Bad {
    /// The connection itself failed.
    Io(io::Error),
    /// A status line to answer with.
    Status(&'static str),
}

// === impl Bad ===

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

// === impl Request ===

impl Request {
    /// Reads the next request's head; `None` when the client is done.
    pub(super) fn read(reader: &mut impl BufRead) -> Result<Option<Self>, Bad> {
        let mut head = reader.take(HEAD_LIMIT);
        let line = loop {
            match line(&mut head)? {
                None => return Ok(None),
                // Empty lines before a request are to be skipped (RFC 9112, 2.2).
                Some(line) if line.is_empty() => {}
                Some(line) => break line,
            }
        };
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Bad::Status("400 Bad Request"));
        };
        if !version.starts_with("HTTP/1.") || method.is_empty() || target.is_empty() {
            return Err(Bad::Status("400 Bad Request"));
        }
        let (method, target, version) = (method.to_owned(), target.to_owned(), version.to_owned());
        let headers = headers(&mut head)?;
        Ok(Some(Self { method, target, version, headers }))
    }

    /// The first value of the header `name`.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let same = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers.iter().find(same).map(|(_, value)| value.as_str())
    }

    fn header_has(&self, name: &str, word: &str) -> bool {
        let value = self.header(name).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    }

    /// Path without the query.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The value of `name` in the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name))
            .map(|(_, value)| value)
    }

    /// Whether the client wants to go on afterwards.
    pub(super) fn keeps_alive(&self) -> bool {
        if self.version == "HTTP/1.0" {
            return self.header_has("connection", "keep-alive");
        }
        !self.header_has("connection", "close")
    }

    pub(super) fn wants_continue(&self) -> bool {
        self.header_has("expect", "100-continue")
    }

    /// Reads the body.
    pub(super) fn body(&self, reader: &mut impl BufRead) -> Result<Vec<u8>, Bad> {
        if self.header_has("transfer-encoding", "chunked") {
            return chunked(reader);
        }
        if self.header("transfer-encoding").is_some() {
            return Err(Bad::Status("501 Not Implemented"));
        }
        let Some(length) = self.header("content-length") else { return Ok(Vec::new()) };
        let length = length.parse().map_err(|_| Bad::Status("400 Bad Request"))?;
        let mut body = Vec::new();
        append(reader, length, &mut body)?;
        Ok(body)
    }
}

fn headers(head: &mut impl BufRead) -> Result<Vec<(String, String)>, Bad> {
    let mut headers = Vec::new();
    loop {
        let line = line(head)?.ok_or(Bad::Status("431 Request Header Fields Too Large"))?;
        if line.is_empty() {
            return Ok(headers);
        }
        if headers.len() == HEADERS_LIMIT {
            return Err(Bad::Status("431 Request Header Fields Too Large"));
        }
        match line.split_once(':') {
            Some((name, value)) if !name.is_empty() && !name.ends_with([' ', '\t']) => {
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            _ => return Err(Bad::Status("400 Bad Request")),
        }
    }
}

/// One line without its end; `None` at the end of input or of the limit.
fn line(reader: &mut impl BufRead) -> Result<Option<String>, Bad> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn append(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> Result<(), Bad> {
    let have = u64::try_from(body.len()).unwrap_or(u64::MAX);
    if have.saturating_add(length) > BODY_LIMIT {
        return Err(Bad::Status("413 Content Too Large"));
    }
    let count = reader.take(length).read_to_end(body)?;
    if u64::try_from(count) == Ok(length) {
        return Ok(());
    }
    Err(Bad::Io(ErrorKind::UnexpectedEof.into()))
}

fn chunked(reader: &mut impl BufRead) -> Result<Vec<u8>, Bad> {
    let bad = || Bad::Status("400 Bad Request");
    let mut body = Vec::new();
    loop {
        let size = line(&mut reader.take(CHUNK_LINE_LIMIT))?.ok_or_else(bad)?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| bad())?;
        if size == 0 {
            // Trailers end like headers do.
            headers(&mut reader.take(HEAD_LIMIT))?;
            return Ok(body);
        }
        append(reader, size, &mut body)?;
        if line(&mut reader.take(CHUNK_LINE_LIMIT))?.is_none_or(|rest| !rest.is_empty()) {
            return Err(bad());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Request>, Bad> {
        Request::read(&mut text.as_bytes())
    }

    fn status(text: &str) -> &'static str {
        match read(text) {
            Err(Bad::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_whole() {
        let request =
            read("\r\nGET /a?b=c&d=e HTTP/1.1\r\nHost: x\r\nA:b \r\n\r\nrest").unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path()), ("GET", "/a"));
        assert_eq!((request.query("d"), request.query("x")), (Some("e"), None));
        assert_eq!((request.header("host"), request.header("a")), (Some("x"), Some("b")));
        assert!(request.keeps_alive());
    }

    #[test]
    fn the_end_of_input_is_not_an_error() {
        assert!(read("").unwrap().is_none());
        assert!(read("GET / HT").unwrap().is_none());
    }

    #[test]
    fn malformed_and_oversized_heads_get_a_status() {
        for text in [
            "x\r\n\r\n",
            "GET /  HTTP/1.1\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            "GET / HTTP/1.1\r\nbad\r\n\r\n",
        ] {
            assert_eq!(status(text), "400 Bad Request", "{text}");
        }
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(40_000));
        assert!(status(&long).starts_with("431"));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(300));
        assert!(status(&many).starts_with("431"));
    }

    #[test]
    fn bodies_come_with_a_length_or_in_chunks() {
        let head =
            |header: &str| read(&format!("POST / HTTP/1.1\r\n{header}\r\n\r\n")).unwrap().unwrap();
        let body = |header: &str, text: &str| head(header).body(&mut text.as_bytes());
        assert_eq!(body("Content-Length: 3", "abcd").unwrap(), b"abc");
        assert_eq!(
            body("Transfer-Encoding: chunked", "2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\n").unwrap(),
            b"abc"
        );
        assert!(body("Content-Length: 5", "abc").is_err());
        assert!(body("Content-Length: -1", "").is_err());
        assert!(
            matches!(body("Content-Length: 99999999999", ""), Err(Bad::Status(s)) if s.starts_with("413"))
        );
        assert!(
            matches!(body("Transfer-Encoding: chunked", "ffffffffffffffff\r\n"), Err(Bad::Status(s)) if s.starts_with("413"))
        );
    }
}
