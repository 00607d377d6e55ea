//! No text makes the parser of targets panic, and what it takes it takes again from its own
//! canonical text.
//!
//! ```text
//! mkdir -p fuzz/corpus/target_name
//! cargo +nightly fuzz run target_name fuzz/corpus/target_name fuzz/seeds/target_name -- \
//!     -max_len=100 -max_total_time=60
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use wharf_spec::TargetName;

fuzz_target!(|text: &str| {
    match text.parse::<TargetName>() {
        Ok(name) => assert_eq!(name.to_string().parse(), Ok(name)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
