//! Signals by the names people give them.

pub use wharf_host::process::Signal;

use crate::error::{Error, Result};

/// The signals people name, as in signal(7).
const NAMES: [(&str, Signal); 30] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// Reads a signal as Docker does: `SIGTERM`, `term` or `15`.
///
/// # Errors
/// It is not one, or a real-time signal, which cannot be sent yet.
pub fn parse(text: &str) -> Result<Signal> {
    let right = "use a name such as TERM or a number 1-31";
    let invalid = || Error::Spec(format!("invalid signal: {text}: {right}"));
    if let Ok(number) = text.parse::<i32>() {
        return Signal::from_named_raw(number).ok_or_else(invalid);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for text in ["SIGTERM", "term", "Term", "15"] {
            assert_eq!(parse(text).unwrap(), Signal::TERM);
        }
        for text in ["", "SIG", "0", "99", "FOO", "-1"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid signal: {text}: use")), "{error}");
        }
    }
}
