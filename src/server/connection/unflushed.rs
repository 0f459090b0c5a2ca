//! Keeps an answer in flight until its client has taken the last of its bytes.

use crate::proxy::worker::Worker;

/// The end of an answer that still waits to be written. hyper has all of the answer, so its request
/// counts as complete; the worker counts the unwritten rest as one more short exchange, so that a
/// drain waits for it.
pub(super) struct UnflushedGuard<'a> {
    is_held: bool,
    worker: &'a Worker,
}

impl<'a> UnflushedGuard<'a> {
    /// Makes a guard that holds nothing yet.
    pub fn new(worker: &'a Worker) -> Self {
        Self { is_held: false, worker }
    }

    /// Whether bytes wait to be written and no request is open.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Begins or ends the short exchange when `is_held` has changed.
    pub fn set(&mut self, is_held: bool) {
        if self.is_held == is_held {
            return;
        }
        self.is_held = is_held;
        if is_held { self.worker.begin_drainable() } else { self.worker.end_drainable() }
    }
}

impl Drop for UnflushedGuard<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}
