//! One counter of a worker.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `by`. Only the thread that owns the counters may call this: concurrent calls would lose
    /// counts.
    #[inline]
    pub(super) fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// Returns the current count.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
