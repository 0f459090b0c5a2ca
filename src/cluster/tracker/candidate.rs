//! Prepares a reload: a tracker with the new settings is built and asked before anything is
//! swapped.

use std::time::Duration;

use super::super::peer_discovery::PeerDiscovery;
use super::super::source;
use super::{Outcome, Setup, Tracker};

impl Tracker {
    /// Makes the tracker that would replace this one in a reload with `setup`.
    ///
    /// Changes neither this tracker nor the cluster file. Neither of the two may be refreshed until
    /// the candidate is committed or dropped, or the result of that refresh is lost. `data_dir`
    /// must be the same.
    pub fn candidate(&self, setup: Setup) -> Candidate {
        let source_changed = source::fingerprint(&setup.source) != self.fingerprint;
        let accepts_another = setup.accept_cluster_id.is_some_and(|id| self.pin.pinned != Some(id));
        let ask = source_changed
            || accepts_another && setup.accept_cluster_id != self.setup.accept_cluster_id;
        let found_before = if source_changed { Vec::new() } else { self.discovery.found().peers };
        let search_changed =
            setup.source != self.setup.source || setup.registry != self.setup.registry;
        let mut tracker = Self { setup, ..self.clone() };
        if search_changed {
            tracker.discovery =
                PeerDiscovery::start(&tracker.setup.source, &tracker.setup.registry, found_before);
        }
        tracker.pin.accepted = tracker.setup.accept_cluster_id;
        tracker.peers.configured = tracker.discovery.found().peers;
        if source_changed {
            tracker.start_over();
        }
        tracker.asks_all |= ask;
        Candidate { tracker, ask }
    }
}

/// A tracker with new settings, to be put in place once everything else of a reload is ready.
///
/// Dropping it leaves no trace.
#[derive(Debug)]
pub struct Candidate {
    tracker: Tracker,
    ask: bool,
}

impl Candidate {
    /// Asks the peers, for `limit` at most, if the settings name another source or accept another
    /// cluster than before.
    ///
    /// Returns a warning when they were asked and none answered. The reload may continue
    /// nevertheless: the old member list stays in use, and each refresh asks the new peers again.
    ///
    /// # Errors
    /// When the peers that answered belong to several clusters, and `accept-cluster-id` names none
    /// of them.
    pub async fn prepare(&mut self, limit: Duration) -> Result<Option<String>, String> {
        if !self.ask {
            return Ok(None);
        }
        let inquiry = self.tracker.inquire(limit).await;
        let disputed = inquiry.asked.is_disputed();
        let Outcome::CachedPeers { reason } = self.tracker.learn(inquiry) else { return Ok(None) };
        if disputed {
            return Err(format!("the peers belong to different clusters: {reason}"));
        }
        let list = if self.tracker.list.is_some() { ", keeping the last one" } else { "" };
        Ok(Some(format!("no peer of the new settings gives a member list{list}: {reason}")))
    }

    /// Returns the tracker as it would be after the reload.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Logs the changes, writes the cluster file, and returns the tracker to put in place of the
    /// old one.
    pub async fn commit(self) -> Tracker {
        let mut tracker = self.tracker;
        tracker.settle().await;
        tracker
    }
}
