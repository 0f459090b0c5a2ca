//! Ends a task when its owner is dropped.

use tokio::task::AbortHandle;

/// Aborts its task when dropped. The task ends the next time it would be polled, which may be after
/// the drop has returned.
#[derive(Debug)]
pub struct AbortOnDrop(pub AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
