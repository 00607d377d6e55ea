//! Waiting with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Short enough not to blur what is measured, long enough not to keep a core busy.
const STEP: Duration = Duration::from_millis(5);

/// Asks `probe` until it answers with a value or `limit` has passed.
///
/// # Errors
/// Names `what` was waited for when the limit has passed.
pub fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_the_wait_and_so_does_the_limit() {
        let mut asked = 0;
        let third = until(Duration::from_secs(5), "third", || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(third.unwrap(), 3);
        let never = until(Duration::from_millis(10), "the moon", || None::<()>);
        assert!(never.unwrap_err().to_string().starts_with("the moon: not within"));
    }
}
