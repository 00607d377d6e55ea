//! Layers that somebody counts on before an image has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;

/// How many count on each layer.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins(Arc<Mutex<BTreeMap<Digest, usize>>>);

/// Keeps some layers; dropping it lets them go.
#[derive(Debug)]
pub(super) struct Pin {
    pins: Pins,
    ids: Vec<Digest>,
}

// === impl Pins ===

impl Pins {
    pub(super) fn pin(&self, ids: &[Digest]) -> Pin {
        let mut pinned = self.lock();
        for id in ids {
            *pinned.entry(id.clone()).or_default() += 1;
        }
        Pin { pins: self.clone(), ids: ids.to_vec() }
    }

    /// Does `work`, during which nobody can pin `id`, unless somebody has.
    pub(super) fn unless_pinned<T>(&self, id: &Digest, work: impl FnOnce() -> T) -> Option<T> {
        let pinned = self.lock();
        let free = !pinned.contains_key(id);
        free.then(work)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pin ===

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pins.lock();
        for id in &self.ids {
            if let Some(count) = pinned.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    pinned.remove(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_free_when_the_last_pin_is_gone() {
        let (pins, id) = (Pins::default(), Digest::of(b"x"));
        let one = pins.pin(&[id.clone(), id.clone()]);
        let other = pins.pin(std::slice::from_ref(&id));
        drop(one);
        assert_eq!(pins.unless_pinned(&id, || ()), None);
        drop(other);
        assert_eq!(pins.unless_pinned(&id, || ()), Some(()));
    }
}
