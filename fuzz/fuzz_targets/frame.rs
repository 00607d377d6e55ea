//! No bytes make the reader of frames panic, and what it takes as frames is, put together again,
//! what it read.
//!
//! ```text
//! mkdir -p fuzz/corpus/frame
//! cargo +nightly fuzz run frame fuzz/corpus/frame fuzz/seeds/frame -- \
//!     -max_len=400 -max_total_time=60
//! ```

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use wharf_spec::frame::Frame;

fuzz_target!(|bytes: &[u8]| {
    let mut buffer = BytesMut::from(bytes);
    let mut at = 0;
    while let Ok(Some(frame)) = Frame::decode(&mut buffer) {
        let wire = frame.encode();
        if let Frame::Failure(_) = frame {
            // Text that is none is replaced.
            at = bytes.len() - buffer.len();
            continue;
        }
        assert_eq!(&bytes[at..at + wire.len()], &wire[..]);
        at += wire.len();
    }
});
