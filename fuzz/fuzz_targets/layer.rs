//! No bytes make the unpacker panic or reach outside its directory. As root also devices and owners
//! are set; otherwise those entries are refused.
//!
//! ```text
//! mkdir -p fuzz/corpus/layer
//! cargo +nightly fuzz run layer fuzz/corpus/layer fuzz/seeds/layer -- \
//!     -max_len=8192 -max_total_time=60
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use wharf_runtime::image::unpack;

fuzz_target!(|bytes: &[u8]| {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(outside.path().join("victim"), "untouched").unwrap();
    let _either = unpack(bytes, &root);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 2);
    assert_eq!(std::fs::read(outside.path().join("victim")).unwrap(), b"untouched");
});
