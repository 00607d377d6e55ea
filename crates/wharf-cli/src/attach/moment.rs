//! Moments as people say them: `10m` ago, a date, a time, seconds since 1970. As Docker's.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const RIGHT: &str = "use a duration such as 10m or 1h30m, a time such as 2026-01-02T15:04:05, \
                     with or without a zone, a date, or seconds since 1970";

/// Reads a moment; durations reach back from `now`, times without a zone are local.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    if let Some(moment) = seconds(text) {
        return Ok(moment);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let local = |time: DateTime| time.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp());
    if let Ok(date) = text.parse::<Date>().map(|date| date.at(0, 0, 0, 0))
        && !text.contains(['T', ' '])
    {
        return local(date).map_err(|_| RIGHT);
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return local(time).map_err(|_| RIGHT);
    }
    let back = text.parse::<SignedDuration>().map_err(|_| RIGHT)?;
    now.checked_sub(back).map_err(|_| RIGHT)
}

/// `SECONDS[.FRACTION]`
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    Timestamp::new(whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<String> {
        let now = "2026-03-04T12:00:00Z".parse().unwrap();
        parse(text, now).ok().map(|moment| moment.to_string())
    }

    #[test]
    fn moments_are_read_as_docker_reads_them() {
        for (text, moment) in [
            ("10m", "2026-03-04T11:50:00Z"),
            ("1h30m", "2026-03-04T10:30:00Z"),
            ("90s", "2026-03-04T11:58:30Z"),
            ("1.5h", "2026-03-04T10:30:00Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1136073600.000000001", "2006-01-01T00:00:00.000000001Z"),
            ("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.5Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
        ] {
            assert_eq!(at(text).as_deref(), Some(moment), "{text}");
        }
        // Local, so any hour.
        assert!(at("2026-01-02").is_some_and(|it| it.starts_with("2026-01-0")));
        assert!(at("2026-01-02T15:04").is_some());
        assert!(at("2026-01-02T15:04:05.25").is_some_and(|it| it.ends_with("05.25Z")));
        for text in ["", "yesterday", "12:00", "2026-13-01", "1e9", "-"] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_stumble(text: String) {
            let _either_way = at(&text);
        }
    }
}
