use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::*;

/// A tar being written, entry by entry, with nothing checked on the way in.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(name: &str, kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        // The safe setters refuse what hostile archives contain.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    fn raw(mut self, mut header: tar::Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        let header = Self::header(name, EntryType::Regular, content.len() as u64);
        self.raw(header, content.as_bytes())
    }

    fn dir(self, name: &str, mode: u32) -> Self {
        let mut header = Self::header(name, EntryType::Directory, 0);
        header.set_mode(mode);
        self.raw(header, b"")
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(name, kind, 0);
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(key, value)]).unwrap();
        self
    }

    fn unpack(self) -> (TempDir, Result<Unpacked>) {
        // The directory outside `root` shows whether anything got out.
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(outside.path().join("victim"), "untouched").unwrap();
        let result = unpack(self.0.into_inner().unwrap().as_slice(), &root);
        let mut names: Vec<_> =
            fs::read_dir(outside.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["root", "victim"], "something was made outside");
        assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "untouched");
        (outside, result)
    }

    fn good(self) -> (TempDir, PathBuf) {
        let (outside, result) = self.unpack();
        result.unwrap();
        let root = outside.path().join("root");
        (outside, root)
    }

    fn refused(self) -> String {
        self.unpack().1.unwrap_err().to_string()
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: not root");
    }
    root
}

#[test]
fn files_keep_mode_owner_time_and_content() {
    if !is_root() {
        return;
    }
    let mut header = Layer::header("bin/su", EntryType::Regular, 2);
    header.set_mode(0o4755);
    header.set_uid(12);
    header.set_gid(34);
    let (_keep, root) = Layer::new().dir("bin/", 0o711).raw(header, b"hi").good();
    let su = fs::metadata(root.join("bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid()), (0o4755, 12, 34));
    assert_eq!(su.mtime(), 1_000_000_000);
    let bin = fs::metadata(root.join("bin")).unwrap();
    assert_eq!((bin.mode() & 0o7777, bin.mtime()), (0o711, 1_000_000_000));
}

#[test]
fn hard_links_symlinks_devices_and_fifos_are_kept() {
    if !is_root() {
        return;
    }
    let mut null = Layer::header("null", EntryType::Char, 0);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    let (_keep, root) = Layer::new()
        .file("a", "x")
        .link(EntryType::Link, "b", "a")
        .symlink("c", "/etc/passwd")
        .raw(null, b"")
        .raw(Layer::header("pipe", EntryType::Fifo, 0), b"")
        .good();
    let ino = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    assert_eq!(ino("a"), ino("b"));
    assert_eq!(fs::read_link(root.join("c")).unwrap(), Path::new("/etc/passwd"));
    let null = fs::metadata(root.join("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == rustix::fs::makedev(1, 3));
    assert!(fs::metadata(root.join("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn pax_names_times_and_attributes_are_used() {
    let long = format!("{}/f", "d".repeat(200));
    let (_keep, root) = Layer::new()
        .pax("path", long.as_bytes())
        .file("short", "x")
        .pax("mtime", b"5.25")
        .file("timed", "")
        .pax("SCHILY.xattr.user.a", b"b\0c")
        .file("attributed", "")
        .pax("SCHILY.xattr.trusted.overlay.redirect", b"/etc")
        .file("redirected", "")
        .good();
    assert!(root.join(&long).is_file());
    let timed = fs::metadata(root.join("timed")).unwrap();
    assert_eq!((timed.mtime(), timed.mtime_nsec()), (5, 250_000_000));
    let mut value = [0; 8];
    let count = rustix::fs::getxattr(root.join("attributed"), "user.a", &mut value);
    if count.is_ok() {
        assert_eq!(&value[..3], b"b\0c");
    }
    let name = "trusted.overlay.redirect";
    assert!(rustix::fs::getxattr(root.join("redirected"), name, &mut value).is_err());
}

#[test]
fn names_that_climb_out_are_refused() {
    for name in ["../x", "a/../../x", "/../x", "a/.."] {
        assert!(Layer::new().file(name, "x").refused().contains(".."), "{name}");
    }
}

#[test]
fn absolute_names_stay_inside() {
    let (_keep, root) = Layer::new().file("/victim", "x").good();
    assert_eq!(fs::read_to_string(root.join("victim")).unwrap(), "x");
}

#[test]
fn writing_through_a_link_stays_inside() {
    let (_keep, root) = Layer::new()
        .symlink("out", "../..")
        .file("out/victim", "x")
        .symlink("abs", "/")
        .file("abs/y", "y")
        .good();
    assert_eq!(fs::read_to_string(root.join("victim")).unwrap(), "x");
    assert_eq!(fs::read_to_string(root.join("y")).unwrap(), "y");
}

#[test]
fn a_file_takes_the_place_of_a_link_and_does_not_follow_it() {
    let (_keep, root) = Layer::new().symlink("a", "../victim").file("a", "mine").good();
    assert!(fs::symlink_metadata(root.join("a")).unwrap().is_file());
    let (_keep, root) = Layer::new().symlink("d", "..").dir("d", 0o700).good();
    assert!(fs::symlink_metadata(root.join("d")).unwrap().is_dir());
}

#[test]
fn a_file_does_not_write_through_a_hard_link() {
    let (_keep, root) =
        Layer::new().file("a", "one").link(EntryType::Link, "b", "a").file("b", "two").good();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "one");
}

#[test]
fn hard_links_out_of_the_root_are_refused() {
    let link = |to: &str| Layer::new().link(EntryType::Link, "a", to);
    assert!(link("../victim").refused().contains(".."));
    assert!(link("/victim").refused().contains("No such file"));
    let through = Layer::new().symlink("out", "../..").link(EntryType::Link, "a", "out/victim");
    assert!(through.refused().contains("No such file"));
    assert!(link("/").refused().contains("root"));
    assert!(link("a").refused().contains("No such file"));
}

#[test]
fn a_hard_link_to_a_link_links_the_link() {
    let (_keep, root) =
        Layer::new().symlink("s", "../../victim").link(EntryType::Link, "h", "s").good();
    assert!(fs::symlink_metadata(root.join("h")).unwrap().is_symlink());
}

#[test]
fn whiteouts_become_devices_and_opaque_directories() {
    if !is_root() {
        return;
    }
    let (_keep, root) = Layer::new()
        .dir("d", 0o755)
        .file("d/.wh.gone", "")
        .file("d/.wh..wh..opq", "")
        .file("d/.wh..wh.plnk", "")
        .good();
    let gone = fs::metadata(root.join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(is_opaque(&root.join("d")));
    assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 1);
}

#[test]
fn a_whiteout_does_not_hide_the_layers_own_files() {
    if !is_root() {
        return;
    }
    let (_keep, root) = Layer::new()
        .file("after", "kept")
        .file(".wh.after", "")
        .file(".wh.before", "")
        .file("before", "kept")
        .file(".wh.dir", "")
        .dir("dir", 0o755)
        .dir("dir2", 0o755)
        .file(".wh.dir2", "")
        .good();
    assert_eq!(fs::read_to_string(root.join("after")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(root.join("before")).unwrap(), "kept");
    assert!(is_opaque(&root.join("dir")) && is_opaque(&root.join("dir2")));
}

#[test]
fn hostile_whiteouts_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        assert!(Layer::new().file(name, "").refused().contains("whiteout"), "{name}");
    }
    assert!(Layer::new().file("../.wh.victim", "").refused().contains(".."));
    if is_root() {
        // Through a link, but inside: `/victim` of the root is what is marked.
        let (_keep, root) = Layer::new().symlink("out", "../..").file("out/.wh.victim", "").good();
        assert!(fs::metadata(root.join("victim")).unwrap().file_type().is_char_device());
    }
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::getxattr(path, OPAQUE_XATTR, &mut value).is_ok_and(|count| &value[..count] == b"y")
}

#[test]
fn claimed_sizes_are_bounded_before_anything_is_read() {
    let header = Layer::header("big", EntryType::Regular, SIZE_LIMIT + 1);
    assert!(Layer::new().raw(header, b"").refused().contains("larger than"));
}

#[test]
fn a_truncated_file_is_an_error() {
    let header = Layer::header("big", EntryType::Regular, 1 << 20);
    let error = Layer::new().raw(header, b"short").refused();
    assert!(error.contains("ends after") || error.contains("unexpected EOF"), "{error}");
}

#[test]
fn long_name_records_are_not_held_in_memory_without_end() {
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let size = HEADER_LIMIT * 4;
        let header = Layer::header("././@LongLink", kind, size);
        let content = vec![b'a'; usize::try_from(size).unwrap()];
        assert!(Layer::new().raw(header, &content).refused().contains("too large"));
    }
}

#[test]
fn overlong_paths_are_refused() {
    let path = "p/".repeat(PATH_LIMIT);
    assert!(Layer::new().pax("path", path.as_bytes()).file("x", "").refused().contains("path"));
    let name = "n".repeat(300);
    assert!(Layer::new().pax("path", name.as_bytes()).file("x", "").refused().contains("too long"));
}

#[test]
fn a_file_where_a_directory_is_needed_is_an_error() {
    let error = Layer::new().file("a", "x").file("a/b", "x").refused();
    assert!(error.contains("Not a directory"), "{error}");
}

#[test]
fn the_roots_own_entry_sets_its_mode() {
    let (_keep, root) = Layer::new().dir("./", 0o700).file("./a", "").good();
    assert_eq!(fs::metadata(root).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let (_keep, root) = Layer::new()
        .dir("a", 0o755)
        .file("a/b", "1")
        .file("a", "2")
        .file("a2", "3")
        .dir("a2", 0o755)
        .good();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "2");
    assert!(root.join("a2").is_dir());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    /// Random entries with names made to collide and to climb: nothing panics, nothing gets out.
    #[test]
    fn no_sequence_of_entries_reaches_outside(
        entries in proptest::collection::vec(
            (0u8..6, "(a|b|\\.\\.|/|\\.wh\\.){1,4}", "(a|b|\\.\\./|/){1,4}"), 1..12)
    ) {
        let mut layer = Layer::new();
        for (kind, name, target) in &entries {
            layer = match kind {
                0 => layer.file(name, target),
                1 => layer.dir(name, 0o755),
                2 => layer.symlink(name, target),
                3 => layer.link(EntryType::Link, name, target),
                4 => layer.raw(Layer::header(name, EntryType::Fifo, 0), b""),
                _ => layer.raw(Layer::header(name, EntryType::GNUSparse, 0), b""),
            };
        }
        let _either = layer.unpack().1;
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2048)) {
        let root = tempfile::tempdir().unwrap();
        let _either = unpack(bytes.as_slice(), root.path());
    }
}

#[test]
fn a_layer_of_nothing_is_fine() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(unpack(&b""[..], root.path()).unwrap(), Unpacked::default());
    let mut zeros = Vec::new();
    zeros.write_all(&[0; 1024]).unwrap();
    assert_eq!(unpack(zeros.as_slice(), root.path()).unwrap(), Unpacked::default());
}

mod hostile;
