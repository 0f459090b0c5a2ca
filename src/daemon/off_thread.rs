//! Work with files, off the control thread: a mount that hangs must hold up neither a stop nor
//! systemd's watchdog.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long it may take; less than half of the watchdog's time in the unit. Each file has a shorter
/// limit of its own, see [`regular_file`](crate::config::regular_file), so that the file is named
/// as a rule.
const LIMIT: Duration = Duration::from_secs(6);

/// Does work that may block, about `what`, on another thread. Dropping the future leaves it to
/// itself.
///
/// # Errors
/// That it has taken too long, as the one reason.
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
