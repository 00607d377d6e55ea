//! The files of a log: the one that is written to, and those that are full, numbered from the
//! youngest.
//!
//! A full file is renamed and never written to again, so whoever has it open reads it to its end
//! and goes on with the next. Entries are never divided between two files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::log::{FILE, Limits};

/// What a container says is not for everyone on the host.
const MODE: u32 = 0o640;
/// A log that is rotated faster than its files can be opened, so many times in a row, is read as it
/// was found.
const TRIES: usize = 20;

/// A log that is written to.
#[derive(Debug)]
pub(crate) struct Writer {
    dir: PathBuf,
    file: File,
    written: u64,
    /// The file ends with a part of an entry: the disk was full, or the shim was killed.
    is_cut: bool,
    limits: Limits,
}

/// The file's name with the number of rotations it has been through.
fn place(dir: &Path, age: u32) -> PathBuf {
    dir.join(if age == 0 { FILE.to_owned() } else { format!("{FILE}.{age}") })
}

/// Opens every file of the log in `dir` for reading, the oldest first; makes an empty one when
/// there is none.
pub fn open(dir: &Path) -> io::Result<Vec<File>> {
    drop(append(dir)?);
    let mut found = Vec::new();
    for _ in 0..TRIES {
        found = open_present(dir)?;
        if is_current(dir, &found) {
            break;
        }
    }
    Ok(found.into_iter().map(|(_, file)| file).collect())
}

/// Opens those files of the log in `dir` that came after `file`, the oldest first, and tells whether
/// nothing between is missing.
pub fn open_after(dir: &Path, file: &File) -> io::Result<(Vec<File>, bool)> {
    if is_same(&place(dir, 0), file) {
        return Ok((Vec::new(), true));
    }
    let mut found = open(dir)?;
    let here = identity(&file.metadata()?);
    let known = found.iter().map(|other| other.metadata().map(|m| identity(&m)));
    match known.collect::<io::Result<Vec<_>>>()?.iter().position(|other| *other == here) {
        Some(index) => Ok((found.split_off(index + 1), true)),
        None => Ok((found, false)),
    }
}

/// The files there are with their ages, the oldest first. A rotation that was cut off leaves one
/// number out.
fn open_present(dir: &Path) -> io::Result<Vec<(u32, File)>> {
    let mut ages = Vec::new();
    for entry in fs::read_dir(dir)? {
        ages.extend(entry?.file_name().to_str().and_then(age));
    }
    ages.sort_unstable();
    let mut found = Vec::with_capacity(ages.len());
    for age in ages.into_iter().rev() {
        match File::open(place(dir, age)) {
            Ok(file) => found.push((age, file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

fn age(name: &str) -> Option<u32> {
    match name.strip_prefix(FILE)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}

/// Whether `files` are still what their names lead to, so that none was missed or taken twice.
fn is_current(dir: &Path, files: &[(u32, File)]) -> bool {
    let writes = files.last().is_some_and(|(age, _)| *age == 0);
    writes && files.iter().all(|(age, file)| is_same(&place(dir, *age), file))
}

fn is_same(path: &Path, file: &File) -> bool {
    matches!((fs::metadata(path), file.metadata()),
        (Ok(there), Ok(here)) if identity(&there) == identity(&here))
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn append(dir: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(MODE).open(place(dir, 0))
}

fn last_byte(path: &Path, length: u64) -> Option<u8> {
    let mut byte = [0];
    File::open(path).ok()?.read_exact_at(&mut byte, length.checked_sub(1)?).ok()?;
    Some(byte[0])
}

// === impl Writer ===

impl Writer {
    /// Opens the log in `dir` for appending.
    pub(crate) fn open(dir: &Path, limits: Limits) -> Result<Self> {
        let file = append(dir).during(|| format!("open {}", place(dir, 0).display()))?;
        let written = file.metadata().map_or(0, |m| m.len());
        let is_cut = last_byte(&place(dir, 0), written).is_some_and(|byte| byte != b'\n');
        Ok(Self { dir: dir.to_owned(), file, written, is_cut, limits })
    }

    /// Writes whole entries. A full disk loses some; it must not stop the container, which would
    /// block on its output.
    pub(crate) fn write(&mut self, mut entries: &[u8]) {
        while !entries.is_empty() {
            let (now, later) = entries.split_at(self.fitting(entries));
            self.append(now);
            if !later.is_empty() && self.rotate().is_err() {
                return self.append(later);
            }
            entries = later;
        }
    }

    /// Writes to the file as it is. Part of an entry is given an end before the next one, rather
    /// than taken back: somebody may have read it, and goes on behind it.
    fn append(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        if self.is_cut {
            if self.file.write_all(b"\n").is_err() {
                return;
            }
            self.is_cut = false;
            self.written = self.written.saturating_add(1);
        }
        let mut left = entries;
        while !left.is_empty() {
            match self.file.write(left) {
                Ok(count @ 1..) => {
                    self.written = self.written.saturating_add(count.try_into().unwrap_or(0));
                    left = left.get(count..).unwrap_or_default();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => break,
            }
        }
        let there = entries.len() - left.len();
        let last = there.checked_sub(1).and_then(|last| entries.get(last));
        self.is_cut = last.is_some_and(|byte| *byte != b'\n');
    }

    /// Makes what was written durable, as far as the disk lets it.
    pub(crate) fn sync(&mut self) {
        let _reported_by_nobody = self.file.sync_data();
    }

    /// How much of `entries` still goes into this file: whole entries, and one at least if it is
    /// empty.
    fn fitting(&self, entries: &[u8]) -> usize {
        let Some(max) = self.limits.max_size else { return entries.len() };
        let room = usize::try_from(max.saturating_sub(self.written)).unwrap_or(usize::MAX);
        if entries.len() <= room {
            return entries.len();
        }
        let is_end = |byte: &u8| *byte == b'\n';
        let within = entries.get(..room).unwrap_or_default();
        match within.iter().rposition(is_end) {
            Some(end) => end + 1,
            None if self.written > 0 => 0,
            None => entries.iter().position(is_end).map_or(entries.len(), |end| end + 1),
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.limits.max_files.saturating_sub(1);
        let free = (1..=oldest).find(|age| !place(&self.dir, *age).exists()).unwrap_or(oldest);
        if free == oldest {
            match fs::remove_file(place(&self.dir, oldest)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        for age in (0..free).rev() {
            fs::rename(place(&self.dir, age), place(&self.dir, age + 1))?;
        }
        self.file = append(&self.dir)?;
        self.written = 0;
        self.is_cut = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn text(mut file: &File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    fn limits(max_size: u64, max_files: u32) -> Limits {
        Limits { max_size: Some(max_size), max_files }
    }

    fn contents(dir: &Path) -> Vec<String> {
        open(dir).unwrap().iter().map(text).collect()
    }

    #[test]
    fn files_are_filled_with_whole_entries_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), limits(8, 3)).unwrap();
        log.write(b"one\ntwo\nthree\n");
        assert_eq!(contents(dir.path()), ["one\ntwo\n", "three\n"]);
        log.write(b"longer than a file\n4\n");
        assert_eq!(contents(dir.path()), ["three\n", "longer than a file\n", "4\n"]);
        // Another start of the container goes on where the last one was.
        let mut log = Writer::open(dir.path(), limits(8, 3)).unwrap();
        log.write(b"5\n");
        log.write(b"6\n7\n8\n");
        assert_eq!(contents(dir.path()), ["longer than a file\n", "4\n5\n6\n7\n", "8\n"]);
    }

    #[test]
    fn one_file_alone_begins_anew_and_without_a_limit_none_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), limits(4, 1)).unwrap();
        log.write(b"one\ntwo\n");
        assert_eq!(contents(dir.path()), ["two\n"]);
        let mut log = Writer::open(dir.path(), Limits { max_size: None, max_files: 1 }).unwrap();
        log.write(&b"many\n".repeat(1000));
        assert_eq!(contents(dir.path())[0].lines().count(), 1001);
    }

    #[test]
    fn a_reader_finds_what_came_after_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), limits(4, 3)).unwrap();
        log.write(b"1\n");
        let first = open(dir.path()).unwrap().pop().unwrap();
        assert_eq!(open_after(dir.path(), &first).unwrap().0.len(), 0);
        log.write(b"2\n3\n4\n5\n");
        let (after, whole) = open_after(dir.path(), &first).unwrap();
        assert_eq!(after.iter().map(text).collect::<Vec<_>>(), ["3\n4\n", "5\n"]);
        assert!(whole);
        assert_eq!(text(&first), "1\n2\n");
        log.write(b"6\n7\n8\n9\n");
        let (after, whole) = open_after(dir.path(), &first).unwrap();
        assert_eq!((after.len(), whole), (3, false));
    }

    #[test]
    fn a_rotation_that_was_cut_off_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(place(dir.path(), 2), "1\n").unwrap();
        fs::write(place(dir.path(), 0), "2\n").unwrap();
        fs::write(dir.path().join("container.log.old"), "not ours\n").unwrap();
        assert_eq!(contents(dir.path()), ["1\n", "2\n"]);
        let mut log = Writer::open(dir.path(), limits(2, 5)).unwrap();
        log.write(b"3\n4\n");
        assert_eq!(contents(dir.path()), ["1\n", "2\n", "3\n", "4\n"]);
    }

    #[test]
    fn what_a_full_disk_cut_off_is_not_the_beginning_of_the_next_entry() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let on_small_disk = || {
            wharf_host::netns::unshare_mount_private().unwrap();
            let (kind, flags) = ("tmpfs", rustix::mount::MountFlags::empty());
            rustix::mount::mount(kind, dir.path(), kind, flags, Some(c"size=64k")).unwrap();
            let mut log =
                Writer::open(dir.path(), Limits { max_size: None, max_files: 1 }).unwrap();
            log.write(b"first\n");
            let ballast = dir.path().join("ballast");
            fs::write(&ballast, vec![0; 48 << 10]).unwrap();
            log.write(&[&vec![b'x'; 100_000][..], b"\n"].concat());
            log.write(b"lost\n");
            fs::remove_file(ballast).unwrap();
            log.write(b"next\n");
            let contents = contents(dir.path()).concat();
            let lines: Vec<&str> = contents.lines().collect();
            assert_eq!((lines.len(), lines[0], lines[2]), (3, "first", "next"));
            assert!(lines[1].starts_with("xx"));
        };
        std::thread::scope(|scope| scope.spawn(on_small_disk).join()).unwrap();
    }

    #[test]
    fn what_a_killed_shim_cut_off_is_not_the_beginning_of_the_next_entry() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(place(dir.path(), 0), "whole\nha").unwrap();
        for entry in [b"next\n", b"last\n"] {
            let mut log = Writer::open(dir.path(), limits(100, 3)).unwrap();
            log.write(entry);
        }
        assert_eq!(contents(dir.path()), ["whole\nha\nnext\nlast\n"]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(50))]

        #[test]
        fn nothing_is_lost_or_written_twice(
            sizes in proptest::collection::vec(1..40_usize, 1..60),
            max_size in 1..100_u64,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Writer::open(dir.path(), limits(max_size, 1000)).unwrap();
            let mut wanted = String::new();
            for (number, size) in sizes.iter().enumerate() {
                let entry = format!("{number}{}\n", "x".repeat(*size));
                log.write(entry.as_bytes());
                wanted += &entry;
            }
            proptest::prop_assert_eq!(contents(dir.path()).concat(), wanted);
        }
    }
}
