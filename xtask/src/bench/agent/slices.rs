//! Two windows at once: slices of one and of the other, in turn.
//!
//! What makes a stream or an exchange fast or slow changes many times in a second and drifts over
//! some; half a second of one way and then of another mostly compares two such moods.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::window::Window;

/// Long enough for a stream to come up to its pace, which takes it a few milliseconds.
const SLICE: Duration = Duration::from_millis(50);

/// Runs `slice` on both of `ends` in turn, each connection lasting a slice, until each has had
/// `lasting`.
pub(crate) fn alternate(
    ends: [SocketAddr; 2],
    lasting: Duration,
    mut slice: impl FnMut(SocketAddr, Duration) -> Result<Window>,
) -> Result<[Window; 2]> {
    let mut found = [Vec::new(), Vec::new()];
    for number in 0..slices(lasting) {
        // Each is first as often as the other.
        let order = if number % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let (Some(end), Some(windows)) = (ends.get(which), found.get_mut(which)) else {
                continue;
            };
            windows.push(slice(*end, SLICE)?);
        }
    }
    Ok(found.map(|windows| Window::joined(&windows)))
}

fn slices(lasting: Duration) -> u128 {
    (lasting.as_millis() / SLICE.as_millis()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_slices_and_is_first_in_turn() {
        let ends: [SocketAddr; 2] =
            ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        let mut ports = Vec::new();
        let [one, other] = alternate(ends, SLICE * 3, |end, lasting| {
            ports.push(end.port());
            Ok(Window::of_bytes(u64::from(end.port()) * 1000, lasting))
        })
        .unwrap();
        assert_eq!(ports, [1, 2, 2, 1, 1, 2]);
        assert_eq!((one.bytes, other.bytes), (3000, 6000));
        assert!((other.rate / one.rate - 2.0).abs() < 1e-9);
    }
}
