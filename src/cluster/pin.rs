//! The cluster that is served: pinned at the first answer, so that a peer of another cluster is
//! refused.

use super::member::{MemberList, hex_id};

/// The cluster ID that peers must have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pin {
    /// The cluster that was found first; `None` until then, while any is accepted.
    pub pinned: Option<u64>,
    /// `accept-cluster-id`: a cluster that may replace the pinned one.
    pub accepted: Option<u64>,
}

impl Pin {
    /// Returns whether a peer of cluster `id` is accepted.
    fn admits(self, id: u64) -> bool {
        self.pinned.is_none_or(|pinned| pinned == id) || self.accepted == Some(id)
    }

    /// Passes on the list of an admitted cluster.
    ///
    /// # Errors
    /// [`ForeignCluster`] for a list of any other.
    pub fn check(self, list: MemberList) -> Result<MemberList, ForeignCluster> {
        match self.pinned {
            Some(ours) if !self.admits(list.cluster_id) => {
                Err(ForeignCluster { theirs: list.cluster_id, ours })
            }
            _ => Ok(list),
        }
    }

    /// Pins `id`, which must have been admitted. From now on only this cluster and the accepted one
    /// are.
    pub fn hold(&mut self, id: u64) {
        self.pinned = Some(id);
    }
}

/// The error for a peer of another cluster, with its remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it belongs to cluster {}, but this proxy serves cluster {}; if the cluster was rebuilt, \
     set accept-cluster-id = \"{}\"",
    hex_id(*theirs), hex_id(*ours), hex_id(*theirs)
)]
pub struct ForeignCluster {
    /// The peer's cluster ID.
    pub theirs: u64,
    /// The pinned ID.
    pub ours: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_pin_any_cluster_is_taken_and_then_only_that() {
        let mut pin = Pin::default();
        assert!(pin.admits(1) && pin.admits(2));
        pin.hold(1);
        assert!(pin.admits(1) && !pin.admits(2));
    }

    #[test]
    fn the_accepted_cluster_replaces_the_pinned_one_for_good() {
        let mut pin = Pin { pinned: Some(1), accepted: Some(2) };
        assert!(pin.admits(1) && pin.admits(2) && !pin.admits(3));
        pin.hold(2);
        assert!(!pin.admits(1) && pin.admits(2));
    }

    #[test]
    fn a_foreign_cluster_comes_with_the_way_out() {
        assert_eq!(
            ForeignCluster { theirs: 0xab, ours: 0xcd }.to_string(),
            "it belongs to cluster ab, but this proxy serves cluster cd; if the cluster was rebuilt, \
             set accept-cluster-id = \"ab\""
        );
    }
}
