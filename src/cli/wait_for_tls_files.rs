//! Waits at startup for TLS files that are being replaced.
//!
//! systemd does not restart the service after the exit status for unusable settings, and a
//! certificate and its key are two files that cannot be replaced at once. So a restart in the
//! middle of a renewal waits for its end, as a reload does.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::config::{self, Inputs};
use crate::daemon::systemd::Notifier;
use crate::tls::configs::{self, Purpose};

/// Longest wait for files that cannot be used.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(250);

/// Waits until the TLS files that the settings name can be used, for at most [`PATIENCE`]. Only a
/// service waits, not a command in a terminal. Errors are reported by the next load.
pub(super) fn wait(inputs: &Inputs) {
    let is_service =
        inputs.env.iter().any(|(name, value)| name == "NOTIFY_SOCKET" && !value.is_empty());
    let end = Instant::now() + PATIENCE;
    let mut notifier = None;
    while is_service && Instant::now() < end {
        let Ok(loaded) = config::load(inputs) else { return };
        let Err(problems) = configs::load(&loaded.settings, &loaded.origins, None, Purpose::Check)
        else {
            return;
        };
        let reason = problems.0.first().map(config::Problem::one_line).unwrap_or_default();
        let line = format!("not started yet, waiting {} s for files: {reason}", PATIENCE.as_secs());
        let notifier = notifier.get_or_insert_with(|| {
            let mut notifier = Notifier::from_env();
            notifier.extend_timeout(2 * PATIENCE);
            notifier
        });
        notifier.status(&line);
        sleep(PAUSE);
    }
}
