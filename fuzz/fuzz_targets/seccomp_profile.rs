//! No text makes the reader of seccomp profiles panic, and what it takes makes a program the kernel
//! could run.
//!
//! ```text
//! mkdir -p fuzz/corpus/seccomp_profile
//! cargo +nightly fuzz run seccomp_profile fuzz/corpus/seccomp_profile fuzz/seeds/seccomp_profile \
//!     -- -max_len=4000 -max_total_time=60
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = wharf_runtime::seccomp::check(text) {
        assert!(!error.to_string().is_empty());
    }
});
