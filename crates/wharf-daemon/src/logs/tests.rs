use std::io::Write;
use std::time::Duration;

use bytes::BytesMut;

use super::*;

/// Longer than a reader of the log sleeps.
const LIMIT: Duration = Duration::from_secs(10);

/// A log as the shim writes it.
struct Log(tempfile::TempDir);

impl Log {
    fn new(entries: &[&str]) -> Self {
        let log = Self(tempfile::tempdir().unwrap());
        log.add(entries);
        log
    }

    /// Each entry is `o` or `e` for the stream, then the text.
    fn add(&self, entries: &[&str]) {
        for entry in entries {
            self.add_at("2026-01-02T03:04:05.06Z", entry);
        }
    }

    fn add_at(&self, time: &str, entry: &str) {
        let (stream, text) = entry.split_at(1);
        let stream = if stream == "o" { "stdout" } else { "stderr" };
        let text = serde_json::to_string(text).unwrap();
        self.line(&format!(r#"{{"log":{text},"stream":"{stream}","time":"{time}"}}"#));
    }

    fn line(&self, line: &str) {
        let mut options = std::fs::File::options();
        let file = options.create(true).append(true).open(self.place(0)).unwrap();
        writeln!(&file, "{line}").unwrap();
    }

    fn place(&self, age: u32) -> std::path::PathBuf {
        let name = wharf_runtime::log::FILE.to_owned();
        self.0.path().join(if age == 0 { name } else { format!("{name}.{age}") })
    }

    /// As the shim does when a file is full; of eight files the oldest goes.
    fn rotate(&self) {
        for age in (0..7).rev() {
            let _gap = std::fs::rename(self.place(age), self.place(age + 1));
        }
    }

    fn query(&self, tail: Option<usize>) -> LogQuery {
        LogQuery {
            files: Files::open(self.0.path().to_owned()).unwrap(),
            follow: false,
            tail,
            timestamps: false,
            since: None,
            until: None,
        }
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
        tokio::time::sleep(POLL_MAX * 8).await;
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

#[tokio::test]
async fn a_log_of_several_files_is_one() {
    let log = Log::new(&["oone\n", "otw"]);
    log.rotate();
    log.add(&["oo\n", "othree\n"]);
    log.rotate();
    log.add(&["ofour\n"]);
    assert_eq!(log.shown(log.query(None)).await, b"one\ntwo\nthree\nfour\n");
    for (count, wanted) in [(1, "four\n"), (2, "three\nfour\n"), (3, "two\nthree\nfour\n"), (0, "")]
    {
        assert_eq!(log.tail(count).await, wanted);
    }
}

#[tokio::test]
async fn lines_are_chosen_by_when_they_began() {
    let log = Log::new(&[]);
    for second in 1..=5 {
        log.add_at(&format!("2026-01-02T03:04:0{second}Z"), &format!("o{second}\n"));
    }
    log.add_at("2026-01-02T03:04:06Z", "obegun ");
    log.add_at("2026-01-02T03:04:09Z", "olate\n");
    let at = |second| Some(format!("2026-01-02T03:04:0{second}Z").parse().unwrap());
    let chosen = async |since: Option<Timestamp>, until: Option<Timestamp>, tail| {
        let query = LogQuery { since, until, ..log.query(tail) };
        String::from_utf8(log.shown(query).await).unwrap()
    };
    assert_eq!(chosen(at(4), None, None).await, "4\n5\nbegun late\n");
    assert_eq!(chosen(None, at(2), None).await, "1\n2\n");
    assert_eq!(chosen(at(2), at(3), None).await, "2\n3\n");
    assert_eq!(chosen(None, at(3), Some(2)).await, "2\n3\n");
    assert_eq!(chosen(at(7), None, None).await, "", "the rest of a line is no line");
    assert_eq!(chosen(None, at(6), Some(1)).await, "begun late\n");
}

/// A follower that reads now and then, while the log is rotated all the time.
#[tokio::test]
async fn a_follower_loses_and_doubles_nothing_over_rotations() {
    let log = Log::new(&[]);
    let (sender, ending) = watch::channel(None);
    let query = LogQuery { follow: true, ..log.query(None) };
    let mut frames = stream(query, ending);
    let mut wanted = Vec::new();
    let mut shown = Vec::new();
    for number in 0..600 {
        let line = format!("{number}\n");
        log.add(&[&format!("o{line}")]);
        wanted.extend(line.into_bytes());
        if number % 3 == 0 {
            log.rotate();
        }
        // Seven older files are kept, and five are made between two looks.
        if number % 15 == 0 {
            while shown.len() < wanted.len() {
                let frame = tokio::time::timeout(LIMIT, frames.recv()).await.unwrap();
                shown.extend(text(frame.unwrap()));
            }
        }
    }
    sender.send(Some(0)).unwrap();
    while let Some(frame) = tokio::time::timeout(LIMIT, frames.recv()).await.unwrap() {
        shown.extend(text(frame));
    }
    assert_eq!(String::from_utf8(shown).unwrap(), String::from_utf8(wanted).unwrap());
}
