//! Moments and durations in words.

use std::time::Duration;

/// The present moment (RFC 3339, UTC).
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Seconds since `moment` (RFC 3339); 0 when it cannot be read or lies ahead.
pub fn seconds_since(moment: &str) -> i64 {
    moment.parse::<jiff::Timestamp>().map_or(0, |moment| {
        jiff::Timestamp::now().as_second().saturating_sub(moment.as_second()).max(0)
    })
}

/// The time from one moment to another (RFC 3339 both); nothing when one cannot be read or the first
/// is the later.
pub fn between(from: &str, to: &str) -> Duration {
    let read = |moment: &str| moment.parse::<jiff::Timestamp>();
    match (read(from), read(to)) {
        (Ok(from), Ok(to)) => Duration::try_from(to.duration_since(from)).unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// A duration in its largest unit, in Docker's words.
pub fn rough(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        ..=0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3_600 => format!("{minutes} minutes"),
        3_600..7_200 => "About an hour".into(),
        7_200..172_800 => format!("{hours} hours"),
        172_800..1_209_600 => format!("{days} days"),
        1_209_600..5_184_000 => format!("{} weeks", days / 7),
        5_184_000..63_072_000 => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_docker() {
        let cases = [(0, "Less than a second"), (1, "1 second"), (59, "59 seconds")];
        let more = [(60, "About a minute"), (300, "5 minutes"), (3_700, "About an hour")];
        let days = [(90_000, "25 hours"), (300_000, "3 days"), (2_000_000, "3 weeks")];
        for (seconds, text) in cases.into_iter().chain(more).chain(days) {
            assert_eq!(rough(seconds), text);
        }
    }

    #[test]
    fn now_can_be_read_back() {
        assert!(seconds_since(&now()) <= 1);
    }
}
