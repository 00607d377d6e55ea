//! Nothing a registry says makes us panic: manifests, indexes, challenges.
//!
//! ```text
//! mkdir -p fuzz/corpus/registry_answer
//! cargo +nightly fuzz run registry_answer fuzz/corpus/registry_answer fuzz/seeds/registry_answer -- \
//!     -max_len=4096 -max_total_time=60
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use wharf_runtime::image::registry::{Challenge, Document};

fuzz_target!(|bytes: &[u8]| {
    let _either = Document::parse(bytes, None);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _understood = Challenge::parse(text);
    }
});
