//! Signals by the names people give them.

use wharf_host::process::Signal as Named;
use wharf_host::signal::{REAL_TIME_MAX, REAL_TIME_MIN};

pub use wharf_host::signal::Signal;

use crate::error::{Error, Result};

/// The signals people name, as in signal(7).
const NAMES: [(&str, Named); 30] = [
    ("HUP", Named::HUP),
    ("INT", Named::INT),
    ("QUIT", Named::QUIT),
    ("ILL", Named::ILL),
    ("TRAP", Named::TRAP),
    ("ABRT", Named::ABORT),
    ("BUS", Named::BUS),
    ("FPE", Named::FPE),
    ("KILL", Named::KILL),
    ("USR1", Named::USR1),
    ("SEGV", Named::SEGV),
    ("USR2", Named::USR2),
    ("PIPE", Named::PIPE),
    ("ALRM", Named::ALARM),
    ("TERM", Named::TERM),
    ("CHLD", Named::CHILD),
    ("CONT", Named::CONT),
    ("STOP", Named::STOP),
    ("TSTP", Named::TSTP),
    ("TTIN", Named::TTIN),
    ("TTOU", Named::TTOU),
    ("URG", Named::URG),
    ("XCPU", Named::XCPU),
    ("XFSZ", Named::XFSZ),
    ("VTALRM", Named::VTALARM),
    ("PROF", Named::PROF),
    ("WINCH", Named::WINCH),
    ("IO", Named::IO),
    ("PWR", Named::POWER),
    ("SYS", Named::SYS),
];

/// Reads a signal as Docker does: `SIGTERM`, `term`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
///
/// # Errors
/// It is not one, or one of the C library's own.
pub fn parse(text: &str) -> Result<Signal> {
    let right = "use a name such as TERM or RTMIN+3, or a number of 1-31 or 34-64";
    let invalid = || Error::Spec(format!("invalid signal: {text}: {right}"));
    if let Ok(number) = text.parse::<i32>() {
        return Signal::of_number(number).ok_or_else(invalid);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name);
    named.map(|(_, signal)| Signal::from(*signal)).or_else(|| real_time(name)).ok_or_else(invalid)
}

/// `RTMIN`, `RTMIN+n`, `RTMAX` or `RTMAX-n`.
fn real_time(name: &str) -> Option<Signal> {
    let offset = |text: &str, sign| match text {
        "" => Some(0),
        _ => {
            let digits = text.strip_prefix(sign)?;
            let number: u8 = digits.parse().ok()?;
            digits.starts_with(|c: char| c.is_ascii_digit()).then_some(i32::from(number))
        }
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => REAL_TIME_MIN + offset(rest, '+')?,
        (_, Some(rest)) => REAL_TIME_MAX - offset(rest, '-')?,
        _ => return None,
    };
    Signal::of_number(number).filter(|_| number >= REAL_TIME_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for text in ["SIGTERM", "term", "Term", "15"] {
            assert_eq!(parse(text).unwrap(), Signal::TERM);
        }
        for (text, number) in [
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmin+15", 49),
            ("SIGRTMAX-1", 63),
            ("RTMAX-14", 50),
            ("sigrtmax", 64),
            ("34", 34),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap().number(), number, "{text}");
        }
        for text in [
            "", "SIG", "0", "99", "FOO", "-1", "32", "33", "65", "RT", "RTMIN+31", "RTMAX-31",
            "RTMIN+", "RTMIN++1", "RTMIN-1", "RTMAX+1", "RTMIN3", "RTMAX-64", "RTMAX-33",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid signal: {text}: use")), "{error}");
        }
    }
}
