//! No text makes the parsers of mounts, sizes and limits panic, and no target leads out of the
//! container.
//!
//! ```text
//! mkdir -p fuzz/corpus/mount
//! cargo +nightly fuzz run mount fuzz/corpus/mount fuzz/seeds/mount -- \
//!     -max_len=200 -max_total_time=60
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use wharf_spec::{Bytes, Mount, Ulimit};

fuzz_target!(|text: &str| {
    for parse in [Mount::from_fields, Mount::from_volume, Mount::from_tmpfs] {
        match parse(text) {
            Ok(mount) => {
                assert!(mount.target.starts_with('/') && mount.target.len() > 1);
                assert!(!mount.target.split('/').any(|part| part == ".."));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let _size = text.parse::<Bytes>();
    if let Ok(limit) = text.parse::<Ulimit>() {
        assert_eq!(limit.to_string().parse(), Ok(limit));
    }
});
