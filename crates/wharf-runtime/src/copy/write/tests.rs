use std::fs;
use std::os::unix::fs::FileTypeExt;

use tar::{Builder, Header};

use super::*;
use crate::copy::archive;

/// A stream with one entry, whose name is taken as it is.
fn stream(name: &str, kind: EntryType, link: Option<&str>) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o666);
    header.set_uid(0);
    header.set_gid(0);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, io::empty()).unwrap();
    builder.into_inner().unwrap()
}

/// A directory to copy from and one to copy to.
fn two() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    (dir, from, to)
}

#[test]
fn pipes_and_devices_arrive_as_what_they_are() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: making devices needs root");
        return;
    }
    let (_dir, from, to) = two();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let null = rustix::fs::makedev(1, 3);
    for (name, kind, device) in [
        ("fifo", rustix::fs::FileType::Fifo, 0),
        ("null", rustix::fs::FileType::CharacterDevice, null),
    ] {
        rustix::fs::mknodat(rustix::fs::CWD, from.join(name), kind, mode, device).unwrap();
    }
    let mut bytes = Vec::new();
    archive(&from, false, Some(Path::new("d")), &mut bytes).unwrap();
    // The second time in place of the first.
    for _ in 0..2 {
        unpack(&to, Path::new(""), true, bytes.as_slice()).unwrap();
    }
    assert!(fs::symlink_metadata(to.join("d/fifo")).unwrap().file_type().is_fifo());
    let device = fs::symlink_metadata(to.join("d/null")).unwrap();
    assert!(device.file_type().is_char_device());
    assert_eq!((device.rdev(), device.mode() & 0o777), (null, 0o600));
}

#[test]
fn names_that_lead_out_are_refused_and_not_left_out() {
    let (dir, _, to) = two();
    let bytes = stream("../x", EntryType::Regular, None);
    let error = unpack(&to, Path::new("."), false, bytes.as_slice()).unwrap_err().to_string();
    assert_eq!(error, "the archive is refused: a path climbs out with '..'");
    std::os::unix::fs::symlink(dir.path(), to.join("link")).unwrap();
    fs::write(dir.path().join("kept"), "").unwrap();
    for (kind, link) in [(EntryType::Fifo, None), (EntryType::Link, Some("link"))] {
        let bytes = stream("link/kept", kind, link);
        unpack(&to, Path::new("."), false, bytes.as_slice()).unwrap_err();
        assert!(fs::symlink_metadata(dir.path().join("kept")).unwrap().is_file());
    }
}

#[test]
fn links_to_files_take_the_place_of_files() {
    let (_dir, from, to) = two();
    fs::write(from.join("one"), "one").unwrap();
    fs::hard_link(from.join("one"), from.join("two")).unwrap();
    let mut bytes = Vec::new();
    archive(&from, false, Some(Path::new(".")), &mut bytes).unwrap();
    for _ in 0..2 {
        unpack(&to, Path::new("."), false, bytes.as_slice()).unwrap();
        assert_eq!(fs::read_to_string(to.join("two")).unwrap(), "one");
        assert!(is_same(&to.join("one"), &to.join("two")));
    }
}

#[test]
fn what_nobody_asked_for_is_refused() {
    let (_dir, _from, to) = two();
    let unpack = |bytes: Vec<u8>| unpack(&to, Path::new("log"), false, bytes.as_slice());
    unpack(stream("log", EntryType::Regular, None)).unwrap();
    for bytes in [
        stream(".bashrc", EntryType::Regular, None),
        stream("logs", EntryType::Directory, None),
        stream("log", EntryType::Link, Some(".bashrc")),
    ] {
        let error = unpack(bytes).unwrap_err().to_string();
        assert!(error.contains("nobody asked for"), "{error}");
    }
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
}
