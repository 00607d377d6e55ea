//! Signals by name or number, as `kill` takes them.

use crate::error::{Error, Result};

const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];
/// The highest real-time signal of Linux.
const MAX_SIGNAL: i32 = 64;

/// Reads `KILL`, `SIGKILL`, `kill` or `9`.
pub fn parse(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let numbered = || name.parse::<i32>().ok().filter(|n| (1..=MAX_SIGNAL).contains(n));
    named.or_else(numbered).ok_or_else(|| {
        Error::Invalid(format!("invalid signal: {text}: use a name such as TERM or a number 1-64"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_spellings() {
        for text in ["KILL", "SIGKILL", "sigkill", "kill", "9"] {
            assert_eq!(parse(text).unwrap(), 9);
        }
        for text in ["", "0", "65", "NOPE", "-9"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
