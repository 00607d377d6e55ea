//! The fuzzer's seeds, replayed without the fuzzer.

use std::fs;
use std::path::Path;

use crate::spec::PortSpec;

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/port_spec");

#[test]
fn every_seed_holds_what_the_fuzz_target_asserts() {
    let (mut taken, mut refused) = (0, 0);
    for entry in fs::read_dir(Path::new(SEEDS)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        match text.parse::<PortSpec>() {
            Ok(spec) => {
                assert_eq!(spec.to_string().parse(), Ok(spec), "{}", path.display());
                taken += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(taken >= 15 && refused >= 15, "{taken} seeds taken, {refused} refused");
}
