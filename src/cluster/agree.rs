//! Decides which cluster is meant when peers show several.
//!
//! A peer of another cluster among the configured ones is a mistake. Whatever its place in the
//! list, it must not decide where all requests go. So before a cluster is pinned, all peers are
//! asked: at the start, and when a reload names others.

use super::fetch::FetchError;
use super::pin::{ForeignCluster, Pin};

/// The result of all answers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// This cluster is meant.
    Cluster(u64),
    /// The peers show several clusters, and neither the settings nor the pin decide.
    Disputed,
    /// No peer showed a cluster.
    Nothing,
}

impl Agreement {
    /// Decides among the clusters that were `shown` and that `pin` admits: for the one that the
    /// settings accept, else the pinned one, else the only one.
    pub fn of(shown: &[u64], pin: Pin) -> Self {
        let decided = [pin.accepted, pin.pinned].into_iter().flatten();
        if let Some(id) = decided.into_iter().find(|id| shown.contains(id)) {
            return Self::Cluster(id);
        }
        match shown {
            [] => Self::Nothing,
            [first, rest @ ..] if rest.iter().all(|id| id == first) => Self::Cluster(*first),
            _ => Self::Disputed,
        }
    }

    /// Returns why a peer that showed cluster `theirs` is not accepted; `None` when it is.
    pub fn objection(self, theirs: u64) -> Option<FetchError> {
        match self {
            Self::Cluster(ours) if ours != theirs => Some(ForeignCluster { theirs, ours }.into()),
            Self::Disputed => Some(FetchError::Disputed(theirs)),
            Self::Cluster(_) | Self::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(pinned: Option<u64>, accepted: Option<u64>) -> Pin {
        Pin { pinned, accepted }
    }

    #[test]
    fn what_the_settings_accept_comes_before_the_pin_and_the_pin_before_the_majority() {
        for (shown, pin, meant) in [
            (&[][..], pin(Some(1), None), Agreement::Nothing),
            (&[1, 1], pin(None, None), Agreement::Cluster(1)),
            (&[2, 1, 1, 1], pin(None, None), Agreement::Disputed),
            (&[1, 1, 1, 2], pin(None, None), Agreement::Disputed),
            (&[2, 1], pin(Some(1), None), Agreement::Cluster(1)),
            (&[1, 2], pin(Some(1), Some(2)), Agreement::Cluster(2)),
            (&[1, 1], pin(Some(1), Some(2)), Agreement::Cluster(1)),
            (&[1, 2, 3], pin(None, Some(3)), Agreement::Cluster(3)),
            (&[1, 2], pin(None, Some(3)), Agreement::Disputed),
            (&[1, 1], pin(None, Some(3)), Agreement::Cluster(1)),
        ] {
            assert_eq!(Agreement::of(shown, pin), meant, "{shown:?} {pin:?}");
        }
    }

    #[test]
    fn who_is_not_believed_is_told_what_would_change_that() {
        assert_eq!(Agreement::Cluster(1).objection(1), None);
        let foreign = Agreement::Cluster(1).objection(0xb).unwrap().to_string();
        assert!(foreign.contains("accept-cluster-id = \"b\""), "{foreign}");
        let disputed = Agreement::Disputed.objection(0xb).unwrap().to_string();
        assert!(
            disputed.contains("cluster b") && disputed.contains("accept-cluster-id"),
            "{disputed}"
        );
    }
}
