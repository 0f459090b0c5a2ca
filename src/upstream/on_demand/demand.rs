//! Counts one worker's writes to a member, for the task that probes it on demand.

use std::cell::Cell;
use std::time::Duration;

/// Counters of one worker's writes to a member, and the settings of the member's regular probes.
#[derive(Debug)]
pub struct OnDemand {
    pub(super) waiting: Cell<usize>,
    pub(super) answered: Cell<usize>,
    pub(super) runs: Cell<bool>,
    pub(super) interval: Cell<Option<Duration>>,
    pub(super) deadline: Cell<Duration>,
}

impl Default for OnDemand {
    fn default() -> Self {
        Self {
            waiting: Cell::new(0),
            answered: Cell::new(0),
            runs: Cell::new(false),
            interval: Cell::new(None),
            deadline: Cell::new(Duration::from_secs(1)),
        }
    }
}

impl OnDemand {
    /// Sets `health-interval` (`None`: no regular probes) and `health-timeout`.
    pub fn set(&self, interval: Option<Duration>, deadline: Duration) {
        self.interval.set(interval);
        self.deadline.set(deadline);
    }
}
