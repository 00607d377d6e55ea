use std::io::Write as _;

use super::*;

fn layers() -> (tempfile::TempDir, Layers) {
    let directory = tempfile::tempdir().unwrap();
    let (layers, scratch) = (directory.path().join("layers"), directory.path().join("scratch"));
    fs::create_dir(&layers).unwrap();
    fs::create_dir(&scratch).unwrap();
    let layers = Layers::new(layers, scratch);
    (directory, layers)
}

fn tar(entries: &[(u8, String, usize)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, size) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        let content = vec![b'x'; *size];
        match kind {
            0 => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, name, content.as_slice()).unwrap();
            }
            1 => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                builder.append_data(&mut header, name, &b""[..]).unwrap();
            }
            _ => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, name, "a").unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn again(layers: &Layers, id: &Digest) -> Vec<u8> {
    let mut out = Vec::new();
    layers.write_tar(id, &mut out).unwrap();
    out
}

#[test]
fn a_layer_is_written_again_byte_for_byte() {
    let (_directory, layers) = layers();
    let long = "n".repeat(150);
    let entries = [
        (1, "d".to_owned(), 0),
        (0, "d/empty".to_owned(), 0),
        (0, "d/one".to_owned(), 1),
        (0, "d/block".to_owned(), 512),
        (0, "d/large".to_owned(), 200_000),
        (2, "link".to_owned(), 0),
        (0, long, 7),
        (0, "d/.wh.gone".to_owned(), 0),
    ];
    let mut tar = tar(&entries);
    // GNU tar pads to twenty blocks, and some tools more.
    tar.extend([0; 4096]);
    for packed in [tar.clone(), gzip(&tar)] {
        let (id, pin) = layers.take(packed.as_slice()).unwrap();
        assert_eq!(id, Digest::of(&tar));
        assert_eq!(layers.tar_length(&id), Some(tar.len() as u64));
        assert_eq!(again(&layers, &id), tar);
        drop(pin);
        assert_eq!(layers.retain(&BTreeSet::new()).unwrap(), [(id, 200_520)]);
        assert_eq!(fs::read_dir(&layers.layers).unwrap().count(), 0);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[test]
fn a_tar_that_replaces_its_own_files_is_not_written_again() {
    let (_directory, layers) = layers();
    let tar = tar(&[(0, "a".to_owned(), 3), (0, "a".to_owned(), 4)]);
    let (id, _pin) = layers.take(tar.as_slice()).unwrap();
    assert_eq!(layers.tar_length(&id), None);
}

#[test]
fn a_file_that_has_changed_is_noticed() {
    let (_directory, layers) = layers();
    let tar = tar(&[(0, "a".to_owned(), 3)]);
    let (id, _pin) = layers.take(tar.as_slice()).unwrap();
    fs::write(layers.path(&id).join("a"), "yyy").unwrap();
    let error = layers.write_tar(&id, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("damaged layer"), "{error}");
    fs::write(layers.path(&id).join("a"), "y").unwrap();
    assert!(layers.write_tar(&id, &mut Vec::new()).is_err());
}

#[test]
fn a_bomb_behind_the_end_is_refused() {
    let (_directory, layers) = layers();
    let mut bomb = tar(&[(0, "a".to_owned(), 3)]);
    bomb.resize(bomb.len() + usize::try_from(TRAILER_LIMIT).unwrap() + 1, 0);
    let error = layers.take(gzip(&bomb).as_slice()).unwrap_err().to_string();
    assert!(error.contains("behind its end"), "{error}");
}

#[test]
fn pinned_layers_stay() {
    let (_directory, layers) = layers();
    let (id, pin) = layers.take(tar(&[(0, "a".to_owned(), 3)]).as_slice()).unwrap();
    assert_eq!(layers.retain(&BTreeSet::new()).unwrap(), []);
    drop(pin);
    assert_eq!(layers.retain(&BTreeSet::new()).unwrap(), [(id, 3)]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_is_whole_is_written_again(
        entries in proptest::collection::vec((0u8..3, "[ab](/[ab]){0,2}", 0usize..2000), 0..8)
    ) {
        let (_directory, layers) = layers();
        let tar = tar(&entries);
        // A file in the place of a directory is an error, and that is well.
        if let Ok((id, _pin)) = layers.take(tar.as_slice())
            && layers.tar_length(&id).is_some()
        {
            proptest::prop_assert_eq!(again(&layers, &id), tar);
        }
    }
}
