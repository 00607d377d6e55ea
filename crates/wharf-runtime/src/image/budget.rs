//! A reader that stops when more is read than was allowed.
//!
//! The tar reader holds long names and PAX records in memory, as long as the archive says they
//! are; this is what keeps a hostile one from taking all of it.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// How much may still be read; shared with the reader.
#[derive(Debug, Clone)]
pub(super) struct Budget(Rc<Cell<u64>>);

/// A reader under a [`Budget`].
#[derive(Debug)]
pub(super) struct Budgeted<R> {
    inner: R,
    budget: Budget,
}

// === impl Budget ===

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Rc::new(Cell::new(bytes)))
    }

    /// Allows `bytes` from here on.
    pub(super) fn limit(&self, bytes: u64) {
        self.0.set(bytes);
    }
}

// === impl Budgeted ===

impl<R> Budgeted<R> {
    pub(super) fn new(inner: R, budget: Budget) -> Self {
        Self { inner, budget }
    }
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.0.get();
        let count = self.inner.read(buffer)?;
        let used = u64::try_from(count).unwrap_or(u64::MAX);
        let left =
            left.checked_sub(used).ok_or_else(|| io::Error::other("a header is too large"))?;
        self.budget.0.set(left);
        Ok(count)
    }
}

impl<R: Seek> Seek for Budgeted<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}
