//! Statistics of the refreshes of the member list: counters, times, and what is wrong now.

use crate::telemetry::snapshot::RefreshStatus;
use crate::telemetry::time::now_ms;

/// The history of a tracker's refreshes.
#[derive(Debug, Clone, Default)]
pub struct RefreshStats {
    succeeded: u64,
    failed: u64,
    last_success_ms: Option<u64>,
    /// Why the last refresh failed; `None` when it did not.
    pub failing: Option<Ongoing>,
    /// Why the last write of the cluster file failed; `None` when it did not.
    pub file: Option<Ongoing>,
    /// Whether the list was found with the help of the cluster file, and no configured peer has
    /// answered since.
    pub from_file: bool,
}

/// An ongoing problem, and when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ongoing {
    /// When it began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// What is wrong.
    pub reason: String,
}

impl RefreshStats {
    /// Records a good refresh. Returns whether the one before had failed.
    pub fn success(&mut self) -> bool {
        self.succeeded += 1;
        self.last_success_ms = Some(now_ms());
        self.failing.take().is_some()
    }

    /// Records a failed refresh. Returns whether its reason differs from that of the one before.
    pub fn failure(&mut self, reason: &str) -> bool {
        self.failed += 1;
        replace(&mut self.failing, reason)
    }

    /// Records the result of writing the cluster file. Returns whether it is news: another reason,
    /// or the first success after failures.
    pub fn file_written(&mut self, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => self.file.take().is_some(),
            Err(reason) => replace(&mut self.file, &reason),
        }
    }

    /// Returns the statistics as they are shown to people.
    pub fn status(&self) -> RefreshStatus {
        RefreshStatus {
            last_success_ms: self.last_success_ms,
            last_error: self.failing.as_ref().map(|trouble| trouble.reason.clone()),
            succeeded: self.succeeded,
            failed: self.failed,
            from_cluster_file: self.from_file,
        }
    }
}

/// Replaces the reason, but keeps the time at which the problem began. Returns whether the reason
/// is new.
fn replace(trouble: &mut Option<Ongoing>, reason: &str) -> bool {
    let before = trouble.take();
    let is_news = before.as_ref().is_none_or(|before| before.reason != reason);
    let since_ms = before.map_or_else(now_ms, |before| before.since_ms);
    *trouble = Some(Ongoing { since_ms, reason: reason.to_owned() });
    is_news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_when_its_reason_is() {
        let mut stats = RefreshStats::default();
        assert!(stats.failure("a: connection refused"));
        let since = stats.failing.as_ref().unwrap().since_ms;
        assert!(!stats.failure("a: connection refused"));
        assert!(stats.failure("a: host not found"));
        assert_eq!(stats.failing.as_ref().unwrap().since_ms, since);
        assert!(stats.success() && !stats.success());
    }

    #[test]
    fn the_status_counts_and_shows_the_last_error() {
        let mut stats = RefreshStats::default();
        stats.success();
        stats.failure("a: connection refused");
        let status = stats.status();
        assert_eq!((status.succeeded, status.failed), (1, 1));
        assert_eq!(status.last_error.as_deref(), Some("a: connection refused"));
        assert!(status.last_success_ms.is_some());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_news_once_each_way() {
        let mut stats = RefreshStats::default();
        assert!(!stats.file_written(Ok(())));
        assert!(stats.file_written(Err("no space".to_owned())));
        assert!(!stats.file_written(Err("no space".to_owned())));
        assert!(stats.file_written(Ok(())));
    }
}
