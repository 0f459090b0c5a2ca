//! Records since when a member has given no sign of life, and when a quorum last answered through
//! it.
//!
//! Probes write it; requests that wait for the member read it. One atomic load tells whether the
//! member is silent.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a member must be silent before writes in flight to it are given up. HAProxy's checks
/// take up to 6 s by default; etcd's own elections 1 to 2 s.
pub const HUNG_AFTER: Duration = Duration::from_secs(5);

/// A member's silence, as its probes see it.
#[derive(Debug)]
pub struct Silence {
    born: Instant,
    /// When the first probe without an answer began, in milliseconds since `born`, plus 1; 0 while
    /// the member answers.
    since: AtomicU64,
    /// When the last probe that a quorum answered began, in the same form; 0 if none was.
    proven: AtomicU64,
    /// When the last probe without an answer began, in the same form.
    last: AtomicU64,
}

impl Silence {
    /// Creates the state of a member about which nothing is known.
    pub fn new() -> Self {
        let (since, last, proven) = Default::default();
        Self { born: Instant::now(), since, last, proven }
    }

    /// Records that a probe which began at `at` got no sign of life. Returns whether the silence is
    /// new.
    pub fn begin(&self, at: Instant) -> bool {
        self.last.store(self.stamp(at), Relaxed);
        self.since.compare_exchange(0, self.stamp(at), Relaxed, Relaxed).is_ok()
    }

    /// Records a sign of life. Returns whether that ended a silence.
    pub fn end(&self) -> bool {
        self.since.swap(0, Relaxed) != 0
    }

    /// Records that a quorum answered a probe which began at `at`.
    pub fn prove(&self, at: Instant) {
        self.proven.store(self.stamp(at), Relaxed);
    }

    /// Returns whether the last probe got no sign of life.
    pub fn is_on(&self) -> bool {
        self.since.load(Relaxed) != 0
    }

    /// Returns when the silence began, while it lasts.
    pub fn since(&self) -> Option<Instant> {
        self.moment(self.since.load(Relaxed))
    }

    /// Returns when the last probe began that found it so, while it lasts.
    pub fn last(&self) -> Option<Instant> {
        self.is_on().then(|| self.moment(self.last.load(Relaxed))).flatten()
    }

    /// Returns for how long probes have confirmed it: from the first to the last that did, each by
    /// when it began. `None` when it is over.
    pub fn confirmed_for(&self) -> Option<Duration> {
        let since = self.since.load(Relaxed);
        (since != 0).then(|| Duration::from_millis(self.last.load(Relaxed).saturating_sub(since)))
    }

    /// Returns whether a quorum has answered a probe that began after `moment`.
    pub fn is_proven_since(&self, moment: Instant) -> bool {
        self.moment(self.proven.load(Relaxed)).is_some_and(|proven| proven > moment)
    }

    fn stamp(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.born).as_millis() as u64 + 1
    }

    fn moment(&self, stamp: u64) -> Option<Instant> {
        let since_born = Duration::from_millis(stamp.checked_sub(1)?);
        self.born.checked_add(since_born)
    }
}

impl Default for Silence {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_lasts_from_the_first_probe_without_an_answer_to_the_first_with_one() {
        let silence = Silence::new();
        assert!(!silence.is_on() && silence.since().is_none());
        let begin = Instant::now() + Duration::from_secs(1);
        assert!(silence.begin(begin));
        assert_eq!(silence.confirmed_for(), Some(Duration::ZERO));
        assert!(!silence.begin(begin + Duration::from_secs(3)));
        assert_eq!(silence.confirmed_for(), Some(Duration::from_secs(3)));
        let since = silence.since().unwrap();
        assert!(begin.duration_since(since) < Duration::from_millis(2), "{since:?}");
        assert!(silence.end());
        assert!(!silence.end() && !silence.is_on());
        assert_eq!(silence.confirmed_for(), None);
    }

    #[test]
    fn a_quorum_is_proven_only_by_a_probe_that_began_later() {
        let silence = Silence::new();
        let moment = Instant::now() + Duration::from_secs(1);
        assert!(!silence.is_proven_since(moment));
        silence.prove(moment);
        assert!(!silence.is_proven_since(moment));
        silence.prove(moment + Duration::from_millis(5));
        assert!(silence.is_proven_since(moment));
    }
}
