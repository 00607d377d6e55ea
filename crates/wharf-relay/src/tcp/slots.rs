//! A table with small numbers for keys. A number is not used again before [`Slots::settle`], so
//! that an event that is already on its way never finds a stranger.

/// The table.
#[derive(Debug)]
pub(super) struct Slots<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
    resting: Vec<u32>,
}

// === impl Slots ===

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new(), resting: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len() - self.resting.len()
    }

    /// Puts an item in; gives it back when there are no numbers left.
    pub(super) fn insert(&mut self, item: T) -> Result<u32, T> {
        let number = self.free.pop().or_else(|| u32::try_from(self.items.len()).ok());
        let Some(number) = number else { return Err(item) };
        match usize::try_from(number).ok().and_then(|place| self.items.get_mut(place)) {
            Some(place) => *place = Some(item),
            None => self.items.push(Some(item)),
        }
        Ok(number)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(usize::try_from(number).ok()?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.items.get_mut(usize::try_from(number).ok()?)?.as_mut()
    }

    pub(super) fn take(&mut self, number: u32) -> Option<T> {
        let item = self.items.get_mut(usize::try_from(number).ok()?)?.take()?;
        self.resting.push(number);
        Some(item)
    }

    /// Allows the numbers of what was taken out to be used again.
    pub(super) fn settle(&mut self) {
        self.free.append(&mut self.resting);
    }

    /// Every number in use.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.items.iter().zip(0..).filter(|(item, _)| item.is_some()).map(|(_, number)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rest_before_they_are_used_again() {
        let mut slots = Slots::new();
        assert_eq!(slots.insert('a'), Ok(0));
        assert_eq!(slots.insert('b'), Ok(1));
        assert_eq!(slots.take(0), Some('a'));
        assert_eq!(slots.take(0), None);
        assert_eq!(slots.insert('c'), Ok(2));
        slots.settle();
        assert_eq!(slots.insert('d'), Ok(0));
        assert_eq!(slots.numbers().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(slots.len(), 3);
    }
}
