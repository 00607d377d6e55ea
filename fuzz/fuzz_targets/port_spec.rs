//! No text makes the parser of port specs panic, and what it takes it takes again from its own
//! canonical text.
//!
//! From the root of the tree, what is found goes to the first directory:
//!
//! ```text
//! mkdir -p fuzz/corpus/port_spec
//! cargo +nightly fuzz run port_spec fuzz/corpus/port_spec fuzz/seeds/port_spec -- \
//!     -max_len=200 -max_total_time=60 -dict=fuzz/port_spec.dict
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use wharf_spec::{Expose, PortSpec};

fuzz_target!(|text: &str| {
    match text.parse::<PortSpec>() {
        Ok(spec) => assert_eq!(spec.to_string().parse(), Ok(spec)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(expose) = text.parse::<Expose>() {
        assert_eq!(expose.to_string().parse(), Ok(expose));
    }
});
