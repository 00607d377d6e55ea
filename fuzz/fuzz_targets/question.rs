//! No bytes make the server of names panic; what it answers fits the question, and is no longer than
//! whoever asked can take.
//!
//! ```text
//! mkdir -p fuzz/corpus/question
//! cargo +nightly fuzz run question fuzz/corpus/question fuzz/seeds/question -- \
//!     -max_len=600 -max_total_time=60
//! ```

#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use wharf_names::answer::{Reply, Transport, fits, fitted, id, is_helpless, reply};
use wharf_names::{Asker, Directory, Entry, Scope};

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| {
    let many = (2..=200).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    let entry = |name: &str, addresses| Entry {
        network: "blue".to_owned(),
        names: vec![name.to_owned()],
        addresses,
    };
    let asker = Asker { networks: vec!["blue".to_owned()], resolvers: Vec::new() };
    Directory::new(
        [Scope { name: "blue".to_owned(), internal: false }],
        [entry("web", vec![[10, 0, 0, 2].into()]), entry("many", many)],
        [("one".to_owned(), asker)],
    )
});

fuzz_target!(|bytes: &[u8]| {
    for over in [Transport::Udp, Transport::Tcp] {
        if let Reply::Answer(answer) = reply(bytes, &DIRECTORY, "one", over, 3) {
            assert_eq!(id(&answer), id(bytes));
            assert!(over == Transport::Tcp || answer.len() <= 1_232);
        }
    }
    let (question, answer) = bytes.split_at(bytes.len() / 2);
    let _whatever = (fits(question, answer), is_helpless(answer));
    assert!(fitted(question, answer.to_vec()).len() <= answer.len().max(512));
});
