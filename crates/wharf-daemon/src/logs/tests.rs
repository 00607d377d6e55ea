use std::io::Write;
use std::time::Duration;

use bytes::BytesMut;

use super::*;

/// Longer than a reader of the log sleeps.
const LIMIT: Duration = Duration::from_secs(10);

/// A log as the shim writes it.
struct Log(tempfile::NamedTempFile);

impl Log {
    fn new(entries: &[&str]) -> Self {
        let log = Self(tempfile::NamedTempFile::new().unwrap());
        log.add(entries);
        log
    }

    /// Each entry is `o` or `e` for the stream, then the text.
    fn add(&self, entries: &[&str]) {
        for entry in entries {
            let (stream, text) = entry.split_at(1);
            let stream = if stream == "o" { "stdout" } else { "stderr" };
            let text = serde_json::to_string(text).unwrap();
            let time = "2026-01-02T03:04:05.06Z";
            self.line(&format!(r#"{{"log":{text},"stream":"{stream}","time":"{time}"}}"#));
        }
    }

    fn line(&self, line: &str) {
        writeln!(self.0.as_file(), "{line}").unwrap();
    }

    fn query(&self, tail: Option<usize>) -> LogQuery {
        let file = self.0.reopen().unwrap();
        LogQuery { file, skip: 0, follow: false, tail, timestamps: false, with_exit: false }
    }

    /// All that is shown, of both streams.
    async fn shown(&self, query: LogQuery) -> Vec<u8> {
        let (_sender, ending) = watch::channel(None);
        let mut frames = stream(query, ending);
        let mut shown = Vec::new();
        while let Some(frame) = frames.recv().await {
            shown.extend(text(frame));
        }
        shown
    }

    async fn tail(&self, count: usize) -> String {
        String::from_utf8(self.shown(self.query(Some(count))).await).unwrap()
    }
}

fn text(frame: Bytes) -> Bytes {
    match Frame::decode(&mut BytesMut::from(frame)).unwrap() {
        Some(Frame::Stdout(bytes) | Frame::Stderr(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_are_exact_and_damage_is_passed_over() {
    let log = Log::new(&["oa"]);
    log.line(r#"{"log":"�\n","stream":"stdout","time":"2026-01-02T03:04:05Z","bytes":"ff000a"}"#);
    log.line("{\"log\":");
    log.add(&["ob\n"]);
    assert_eq!(log.shown(log.query(None)).await, b"a\xff\0\nb\n");
    assert_eq!(log.shown(log.query(Some(9))).await, b"a\xff\0\nb\n");
}

#[tokio::test]
async fn the_tail_is_lines_and_not_entries() {
    let log = Log::new(&["oone\n", "ot", "ow", "oo\n", "oth", "oree"]);
    for (count, wanted) in
        [(0, ""), (1, "three"), (2, "two\nthree"), (3, "one\ntwo\nthree"), (9, "one\ntwo\nthree")]
    {
        assert_eq!(log.tail(count).await, wanted);
    }
    // The rest of a line that began before the tail is not in it.
    let log = Log::new(&["oold ", "enew\n", "oold\n", "elast", "e\n"]);
    assert_eq!(log.tail(2).await, "new\nlast\n");
    assert_eq!(log.tail(1).await, "last\n");
}

#[tokio::test]
async fn a_time_is_put_only_in_front_of_a_line() {
    let log = Log::new(&["oa", "ex", "ob\n", "oc\n", "ey\n", "od"]);
    let stamped = async |tail| {
        let query = LogQuery { timestamps: true, ..log.query(tail) };
        let shown = String::from_utf8(log.shown(query).await).unwrap();
        shown.replace("2026-01-02T03:04:05.06Z ", "@")
    };
    assert_eq!(stamped(None).await, "@a@xb\n@c\ny\n@d");
    assert_eq!(stamped(Some(2)).await, "@c\n@d");
}

#[tokio::test]
async fn a_follower_gets_the_rest_of_a_line_it_did_not_see() {
    for (tail, wanted) in
        [(Some(0), "@line\n"), (Some(1), "@half line\n"), (None, "@old\n@half line\n")]
    {
        let log = Log::new(&["oold\n", "ohalf "]);
        let (sender, ending) = watch::channel(None);
        let query = LogQuery { follow: true, timestamps: true, ..log.query(tail) };
        let mut frames = stream(query, ending);
        // Until it has found the end; with a tail of nothing, nothing tells.
        tokio::time::sleep(POLL_MAX * 2).await;
        log.add(&["oline\n"]);
        sender.send(Some(0)).unwrap();
        let all = async {
            let mut shown = Vec::new();
            while let Some(frame) = frames.recv().await {
                shown.extend(text(frame));
            }
            String::from_utf8(shown).unwrap()
        };
        let shown = tokio::time::timeout(LIMIT, all).await.unwrap();
        assert_eq!(shown.replace("2026-01-02T03:04:05.06Z ", "@"), wanted);
    }
}
