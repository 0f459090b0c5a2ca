//! Waits for a task that may not run.

use tokio::task::JoinHandle;

/// Waits for a task's end; for ever when there is none. `None` when it was aborted or has panicked.
pub(super) async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}
