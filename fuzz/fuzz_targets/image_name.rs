//! No text makes the parser of image names panic, and what it takes it takes again from its whole
//! name.
//!
//! ```text
//! mkdir -p fuzz/corpus/image_name
//! cargo +nightly fuzz run image_name fuzz/corpus/image_name fuzz/seeds/image_name -- \
//!     -max_len=200 -max_total_time=60
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use wharf_runtime::image::{ImageSource, Platform, Reference};

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let whole: Reference = reference.canonical().parse().unwrap();
        assert_eq!(whole.repository(), reference.repository());
        assert_eq!(whole.wanted(), reference.wanted());
        assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
    }
    let _either = text.parse::<ImageSource>();
});
