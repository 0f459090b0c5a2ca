//! Waits for a task that may not have been started.

use tokio::task::JoinHandle;

/// Waits until the task ends, or for ever if there is none. Returns `None` when it was aborted or
/// panicked.
pub(super) async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}
