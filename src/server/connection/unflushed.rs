//! Makes a drain wait until clients have taken the last byte of their answers.

use crate::proxy::worker::Worker;

/// Counts the end of an answer that is not written yet. hyper has all of the answer, so its request
/// counts as complete; the worker counts the unwritten rest as one more short exchange, so that a
/// drain waits for it.
pub(super) struct UnflushedGuard<'a> {
    is_held: bool,
    worker: &'a Worker,
}

impl<'a> UnflushedGuard<'a> {
    /// Creates a guard that counts nothing yet.
    pub fn new(worker: &'a Worker) -> Self {
        Self { is_held: false, worker }
    }

    /// Returns whether bytes wait to be written and no request is open.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Begins or ends the short exchange if `is_held` differs from before.
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
