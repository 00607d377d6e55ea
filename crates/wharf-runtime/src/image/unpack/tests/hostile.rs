//! A collection of archives that nobody makes by accident. [`Layer::unpack`] looks each time whether
//! anything got out.

use super::*;

fn harmless(layer: Layer) -> (TempDir, PathBuf) {
    let (outside, _either) = layer.unpack();
    let root = outside.path().join("root");
    (outside, root)
}

#[test]
fn links_to_everywhere_lead_nowhere_but_inside() {
    for target in ["/", "..", "../..", "/proc/self/root", "../victim", "/etc"] {
        let layers = [
            Layer::new().symlink("x", target).file("x/victim", "got you"),
            Layer::new().symlink("x", target).dir("x/new", 0o777),
            Layer::new().symlink("x", target).link(EntryType::Link, "h", "x/victim"),
            Layer::new().symlink("x", target).file("x/.wh..wh..opq", ""),
            Layer::new().symlink("x", target).file("x/.wh.victim", ""),
            Layer::new().symlink("x", target).symlink("x/y", target).file("x/y/z", "got you"),
            Layer::new().dir("x", 0o755).symlink("x", target).file("x/victim", "got you"),
            Layer::new().symlink("x", target).dir("x", 0o755).file("x/victim", "got you"),
        ];
        layers.into_iter().for_each(|layer| drop(harmless(layer)));
    }
}

#[test]
fn links_in_a_circle_are_an_error_and_no_loop() {
    let error = Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", "").refused();
    assert!(error.contains("symbolic link"), "{error}");
}

#[test]
fn what_was_made_is_never_written_through() {
    if !is_root() {
        return;
    }
    let null = |name: &str| {
        let mut header = Layer::header(name, EntryType::Char, 0);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header
    };
    let (_keep, root) = Layer::new().raw(null("n"), b"").file("n", "kept").good();
    assert_eq!(fs::read_to_string(root.join("n")).unwrap(), "kept");
    // A pipe nobody reads from would hold a writer up for ever.
    let pipe = Layer::header("p", EntryType::Fifo, 0);
    let (_keep, root) = Layer::new().raw(pipe, b"").file("p", "kept").good();
    assert_eq!(fs::read_to_string(root.join("p")).unwrap(), "kept");
}

#[test]
fn a_device_does_not_stand_in_for_a_directory() {
    if !is_root() {
        return;
    }
    let mut disk = Layer::header("d", EntryType::Block, 0);
    disk.set_device_major(8).unwrap();
    let error = Layer::new().raw(disk, b"").file("d/x", "").refused();
    assert!(error.contains("Not a directory"), "{error}");
}

#[test]
fn directories_cannot_be_linked_nor_anything_out_of_the_root() {
    for target in ["d", ".", "/", "d/..", "../victim", "d/../../victim"] {
        drop(Layer::new().dir("d", 0o755).link(EntryType::Link, "h", target).refused());
    }
}

#[test]
fn sparse_files_stand_for_no_more_than_the_disk_has() {
    let mut header = Layer::header("s", EntryType::GNUSparse, 0);
    let octal = format!("{:011o}\0", (8_u64 << 30) - 1);
    header.as_gnu_mut().unwrap().realsize.copy_from_slice(octal.as_bytes());
    let mut layer = Layer::new();
    for _ in 0..20_000 {
        layer = layer.raw(header.clone(), b"");
    }
    let error = layer.refused();
    assert!(["are free", "larger than", "sparse"].iter().any(|it| error.contains(it)), "{error}");
}

#[test]
fn sizes_in_extended_headers_are_bounded_too() {
    for size in ["99999999999999", "18446744073709551615", "-1", "x"] {
        let layer = Layer::new().pax("size", size.as_bytes()).file("x", "content");
        drop(harmless(layer));
    }
}

#[test]
fn names_that_are_no_names_are_refused() {
    for name in ["a\0b", "..", "a/../../b", "/../x", "./../x"] {
        drop(Layer::new().pax("path", name.as_bytes()).file("x", "").refused());
    }
}
