//! Names for containers that were given none: a mood and something found at a harbour.

const MOODS: [&str; 32] = [
    "amber", "brave", "calm", "clever", "cosy", "crisp", "daring", "eager", "fleet", "gentle",
    "glad", "hardy", "humble", "jolly", "keen", "lively", "lucid", "merry", "nimble", "plucky",
    "proud", "quiet", "ready", "sandy", "sturdy", "sunny", "swift", "tidy", "trusty", "warm",
    "windy", "wise",
];
const THINGS: [&str; 32] = [
    "anchor", "barge", "beacon", "bollard", "breeze", "buoy", "capstan", "crane", "current",
    "dinghy", "dock", "ferry", "gull", "harbour", "heron", "hull", "jetty", "keel", "ketch",
    "lantern", "lighter", "mast", "mooring", "otter", "pier", "quay", "rigging", "rudder",
    "schooner", "sextant", "tide", "tug",
];
/// After this many tries a number makes the name unique.
const TRIES: usize = 16;

/// A name that `taken` does not know.
pub(crate) fn pick(taken: impl Fn(&str) -> bool) -> String {
    let word = |words: &[&'static str; 32]| {
        words.get(rand::random_range(0..words.len())).copied().unwrap_or("plain")
    };
    for _ in 0..TRIES {
        let name = format!("{}_{}", word(&MOODS), word(&THINGS));
        if !taken(&name) {
            return name;
        }
    }
    format!("{}_{}_{:08x}", word(&MOODS), word(&THINGS), rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_harbour_still_finds_a_name() {
        let first = pick(|_| false);
        assert!(first.parse::<wharf_spec::ContainerName>().is_ok());
        let crowded = pick(|name| name.matches('_').count() == 1);
        assert_eq!(crowded.matches('_').count(), 2);
    }
}
