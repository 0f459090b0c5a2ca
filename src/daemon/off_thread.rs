//! File work off the control thread: a mount that hangs must hold up neither a stop nor systemd's
//! watchdog.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long the work may take: less than half of the watchdog's time in the unit. Each file has a
/// shorter limit of its own, see [`regular_file`](crate::config::regular_file), so the error
/// usually names the file.
const LIMIT: Duration = Duration::from_secs(6);

/// Runs work about `what` that may block, on another thread. If the future is dropped, the work
/// continues unattended.
///
/// # Errors
/// One reason: that the work took too long, or that it panicked.
pub(super) async fn off_thread<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Vec<String>> {
    match timeout(LIMIT, spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(vec![format!("cannot look at {what}: {error}")]),
        Err(_) => Err(vec![format!(
            "cannot look at {what}: their file system does not answer within {} s",
            LIMIT.as_secs()
        )]),
    }
}
