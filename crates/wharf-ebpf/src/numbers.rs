//! Numbers to be given out, none twice at a time.

use std::collections::BTreeSet;

/// Which numbers are in use, from 1 on.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    taken: BTreeSet<u32>,
    last: u32,
}

// === impl Numbers ===

impl Numbers {
    /// A number that is not in use. One that was given back rests as long as others are left, so
    /// that whoever still looks at it does not find something else there.
    pub(crate) fn take(&mut self) -> u32 {
        let mut next = self.last;
        loop {
            next = next.checked_add(1).unwrap_or(1);
            if self.taken.insert(next) {
                self.last = next;
                return next;
            }
        }
    }

    /// The lowest number that is not in use, counted from 0.
    pub(crate) fn take_lowest(&mut self) -> u32 {
        let free = (0..u32::MAX).find(|number| !self.taken.contains(number)).unwrap_or(u32::MAX);
        self.taken.insert(free);
        free
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        self.taken.remove(&number);
    }

    /// Gives back all but these.
    pub(crate) fn keep(&mut self, used: &BTreeSet<u32>) {
        self.taken.retain(|number| used.contains(number));
    }
}

impl FromIterator<u32> for Numbers {
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let taken: BTreeSet<u32> = numbers.into_iter().collect();
        let last = taken.last().copied().unwrap_or_default();
        Self { taken, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_out_twice() {
        let mut numbers = Numbers::from_iter([3, u32::MAX]);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [1, 2, 4]);
        numbers.give_back(2);
        assert_eq!(numbers.take(), 5);
        assert_eq!([numbers.take_lowest(), numbers.take_lowest()], [0, 2]);
    }
}
