//! The tests: a few operations that are the same for everybody, ten thousand from a new seed for
//! whoever asks, and the seeds that have failed once.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

use super::play::play;

/// What everybody waits for at every run, from the same seed: what fails then is due to the change
/// at hand.
const FEW: usize = 600;
const USUAL: u64 = 1;
const MANY: usize = 10_000;

/// Reads `WHARF_SEED` or `WHARF_OPERATIONS`.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The seed asked for, or what is usual.
fn seed(usually: impl FnOnce() -> u64) -> u64 {
    number("WHARF_SEED").unwrap_or_else(usually)
}

fn another_each_time() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn operations(usually: usize) -> usize {
    number("WHARF_OPERATIONS").map_or(usually, |asked| usize::try_from(asked).unwrap())
}

#[test]
fn random_operations_leave_kernel_ledger_and_model_the_same() {
    play(seed(|| USUAL), operations(FEW));
}

#[test]
#[ignore = "takes minutes: cargo nextest run -p wharf-cli --run-ignored all -E 'test(ten_thousand)'"]
fn ten_thousand_random_operations_leave_kernel_ledger_and_model_the_same() {
    play(seed(another_each_time), operations(MANY));
}

fn kept() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/random/seeds")
}

/// Plays the seed kept in the file `name`: what it once found, as lines of `#`, then the seed and
/// the number of operations.
fn again(name: &str) {
    let path = kept().join(name);
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| !line.starts_with('#') && !line.is_empty()).unwrap();
    let (seed, operations) = line.split_once(' ').unwrap();
    play(seed.parse().unwrap(), operations.parse().unwrap());
}

macro_rules! kept {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                again(stringify!($name));
            }
        )*

        #[test]
        fn every_kept_seed_has_a_test() {
            let mut named = vec![$(stringify!($name).to_owned()),*];
            named.sort();
            let files = fs::read_dir(kept()).unwrap().flatten();
            let mut files: Vec<String> =
                files.map(|file| file.file_name().into_string().unwrap()).collect();
            files.sort();
            assert_eq!(named, files);
        }
    };
}

kept![every_kind_of_operation, replacing_what_rests];
