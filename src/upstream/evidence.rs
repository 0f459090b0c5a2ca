//! What is known of a member's health, and how it is known.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What last showed that a member lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Evidence {
    /// It answered a request.
    Answered = 1,
    /// It answered a probe.
    Probed = 2,
    /// It answered a health check, which says nothing about its quorum.
    Checked = 3,
}

/// The result of one probe of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// It answered, through a quorum.
    Healthy,
    /// It is alive and has no leader or no quorum, with the reason. New requests avoid it; requests
    /// that already wait for it may go on waiting.
    NoQuorum(String),
    /// It cannot serve, or takes no new connections, with the reason. New requests avoid it;
    /// requests that already wait for it go on waiting.
    Unhealthy(String),
    /// It gave no sign of life, with the reason. Requests that wait for it are interrupted.
    Unresponsive(String),
    /// It answered without proving that it belongs to our cluster, with the reason. It gets no
    /// requests.
    Unproved(String),
}

impl ProbeResult {
    /// Returns why the endpoint is not healthy; `None` when it is.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Healthy => None,
            Self::NoQuorum(reason)
            | Self::Unhealthy(reason)
            | Self::Unresponsive(reason)
            | Self::Unproved(reason) => Some(reason),
        }
    }
}

/// The last sign of life of an endpoint, and when it was.
///
/// Its kind stands in the two lowest bits, and above them milliseconds since the Unix epoch; 0
/// before the first.
#[derive(Debug, Default)]
pub struct LastEvidence(AtomicU64);

impl LastEvidence {
    /// Records a sign of life at `at_ms`, in milliseconds since the Unix epoch.
    pub fn record(&self, evidence: Evidence, at_ms: u64) {
        self.0.store(at_ms << 2 | evidence as u64, Relaxed);
    }

    /// Returns the last sign of life, and when it was, in milliseconds since the Unix epoch.
    pub fn get(&self) -> Option<(Evidence, u64)> {
        let last = self.0.load(Relaxed);
        let evidence = match last & 3 {
            1 => Evidence::Answered,
            2 => Evidence::Probed,
            3 => Evidence::Checked,
            _ => return None,
        };
        Some((evidence, last >> 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sign_of_life_is_kept_with_its_time() {
        let last = LastEvidence::default();
        assert_eq!(last.get(), None);
        for evidence in [Evidence::Answered, Evidence::Probed, Evidence::Checked] {
            last.record(evidence, 1_800_000_000_000);
            assert_eq!(last.get(), Some((evidence, 1_800_000_000_000)));
        }
    }
}
