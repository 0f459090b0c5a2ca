//! The tracker: knows the cluster's members and keeps that knowledge up to date.
//!
//! It owns the configured source, the peers adopted from the last good list, the pinned cluster and
//! the cluster file. A refresh replaces the member list only by a good one of the right cluster:
//! errors, junk, an empty list and a foreign cluster change only the statistics. The cluster file
//! keeps the pin over a restart. The pin is released when the configured source changes or the
//! settings accept another cluster.
//!
//! The peers of a source that has to be asked come from a [`PeerDiscovery`], which asks it in the
//! background. The first refresh waits for its first result, so that the cluster file stays the
//! last resort.
//!
//! The control plane calls [`Tracker::refresh`] every `proxy-refresh-interval`, or every second
//! until the first list.

mod candidate;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::confirm;
use super::event::{ClusterEvent, ListChange};
use super::fetch::{Access, FETCH_LIMIT, FetchError, fetch};
use super::file::{CachedPeers, ClusterFile};
use super::member::MemberList;
use super::peer_discovery::{Discovered, PeerDiscovery};
use super::peer_query::{Asked, ask, ask_all};
use super::peers::Peers;
use super::pin::Pin;
use super::refresh_stats::RefreshStats;
use super::source;
use crate::config::{PeerSource, PeerUrl, Settings};
use crate::telemetry::snapshot::{PeerStatus, Problem, RefreshStatus, SourceStatus};
use crate::tls::{Connector, TlsConfigs};

/// How long the additional peer of a refresh may take to answer; see `look_at`.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// How many peers' errors one message repeats; the status shows all.
const MOST_TOLD: usize = 16;

/// The settings that the tracker depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The source of the peers.
    pub source: PeerSource,
    /// The connector for a registry that is reached by `https`.
    pub registry: Connector,
    /// The cluster ID that is accepted in place of the pinned one.
    pub accept_cluster_id: Option<u64>,
    /// How to connect to the peers.
    pub access: Access,
    /// The directory below which the cluster file is `proxy/cluster`.
    pub data_dir: PathBuf,
}

impl Setup {
    /// Takes the tracker's settings from the settings and TLS configs of one generation.
    pub fn new(settings: &Settings, tls_configs: &TlsConfigs) -> Self {
        Self {
            source: settings.peers.clone(),
            registry: tls_configs.registry.clone(),
            accept_cluster_id: settings.accept_cluster_id,
            access: Access::new(settings, tls_configs),
            data_dir: settings.data_dir.clone(),
        }
    }
}

/// The outcome of a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A peer returned a good list, which is now [`Tracker::list`].
    Fresh {
        /// Whether it differs from the one before.
        changed: bool,
    },
    /// No peer did; the list is unchanged (missing, before the first).
    CachedPeers {
        /// What each peer answered, in one line.
        reason: String,
    },
}

/// The tracker of the cluster's members; see the [module](self).
#[derive(Debug, Clone)]
pub struct Tracker {
    setup: Setup,
    fingerprint: String,
    discovery: PeerDiscovery,
    /// What is missing or wrong at the source.
    source_trouble: Option<String>,
    file: ClusterFile,
    peers: Peers,
    pin: Pin,
    list: Option<Arc<MemberList>>,
    /// Members that the last list missed, not confirmed yet.
    suspected: Vec<u64>,
    /// Whether the next refresh asks all peers, because it is not clear that they are of one
    /// cluster.
    asks_all: bool,
    /// Counts refreshes, to choose the additional peer that each one looks at.
    looked_at: usize,
    stats: RefreshStats,
    /// The content that the cluster file should have.
    keep: Option<CachedPeers>,
    /// Events that are still to be logged.
    events: Vec<ClusterEvent>,
}

impl Tracker {
    /// Makes a tracker that knows no members yet. Reads the cluster file, and starts the search for
    /// peers.
    pub fn new(setup: Setup) -> Self {
        let mut tracker = Self {
            fingerprint: String::new(),
            discovery: PeerDiscovery::start(&setup.source, &setup.registry, Vec::new()),
            source_trouble: None,
            file: ClusterFile::below(&setup.data_dir),
            peers: Peers::default(),
            pin: Pin::default(),
            list: None,
            suspected: Vec::new(),
            asks_all: true,
            looked_at: 0,
            stats: RefreshStats::default(),
            keep: None,
            events: Vec::new(),
            setup,
        };
        tracker.start_over();
        tracker
    }

    /// Resets what depends on the source, and reads what the cluster file holds for it.
    fn start_over(&mut self) {
        self.fingerprint = source::fingerprint(&self.setup.source);
        self.peers = Peers::new(source::known(&self.setup.source).to_vec());
        self.pin = Pin { pinned: None, accepted: self.setup.accept_cluster_id };
        self.keep = None;
        self.source_trouble = None;
        self.stats.from_file = false;
        match self.file.read(&self.fingerprint) {
            Ok(Some(kept)) => {
                self.pin.pinned = kept.cluster_id();
                self.peers.cached = kept.peers();
            }
            Ok(None) => {}
            Err(reason) => {
                self.events.push(ClusterEvent::ignored(self.file.path().to_owned(), &reason))
            }
        }
    }

    /// Sets how to connect to peers and the registry from the next refresh on, after a change of
    /// the client certificates or trust anchors. If the registry's connector has changed, its
    /// search starts again with the peers found so far.
    pub fn set_access(&mut self, access: Access, registry: &Connector) {
        self.setup.access = access;
        if self.setup.registry != *registry {
            self.setup.registry = registry.clone();
            let found = self.discovery.found().peers;
            self.discovery = PeerDiscovery::start(&self.setup.source, registry, found);
        }
    }

    /// Asks the peers for the member list, keeps the cluster file up to date, and logs what has
    /// changed.
    ///
    /// Takes at most about 10 s while peers hang, as long again when the cluster file's peers are
    /// asked too, and as long again when the source has no result yet. May be dropped at any time:
    /// what was learned is kept whole or not at all.
    pub async fn refresh(&mut self) -> Outcome {
        let outcome = self.learn_within(FETCH_LIMIT).await;
        self.settle().await;
        outcome
    }

    /// Asks the peers and records the result, without logging and without touching the cluster
    /// file.
    async fn learn_within(&mut self, limit: Duration) -> Outcome {
        let inquiry = self.inquire(limit).await;
        self.learn(inquiry)
    }

    async fn inquire(&self, limit: Duration) -> Inquiry {
        let mut peers = self.peers.clone();
        let found = self.discovery.first_result(limit).await;
        peers.configured = found.peers.clone();
        let to_ask = peers.to_ask();
        let access = &self.setup.access;
        let mut asked = if self.asks_all {
            let in_force = self.list.as_ref().map(|list| list.cluster_id);
            ask_all(&to_ask, self.pin, in_force, access, limit).await
        } else {
            let another = another(&to_ask, self.looked_at);
            let (mut asked, looked) =
                tokio::join!(ask(&to_ask, self.pin, access, limit), self.look_at(another));
            asked.add(looked);
            asked
        };
        match asked.answer {
            Some(_) => self.discovery.is_good(),
            None => self.discovery.search_again(),
        }
        let last_resort = peers.last_resort();
        let from_file = asked.answer.is_none() && !asked.is_disputed() && !last_resort.is_empty();
        if from_file {
            let last = ask(&last_resort, self.pin, access, limit).await;
            asked.answer = last.answer;
            asked.errors.extend(last.errors);
        }
        Inquiry { found, asked, from_file }
    }

    /// Checks whether a peer that need not be asked is still of our cluster: a refresh stops at the
    /// first good answer, and would never notice.
    async fn look_at(
        &self,
        peer: Option<&PeerUrl>,
    ) -> Option<(PeerUrl, Result<MemberList, FetchError>)> {
        let peer = peer?;
        let answer = timeout(LOOK_LIMIT, fetch(peer, &self.setup.access)).await.ok()?;
        Some((peer.clone(), answer.and_then(|list| Ok(self.pin.check(list)?))))
    }

    fn learn(&mut self, inquiry: Inquiry) -> Outcome {
        let Inquiry { found, asked, from_file } = inquiry;
        self.looked_at = self.looked_at.wrapping_add(1);
        if let Some((_, list)) = &asked.answer {
            self.asks_all = false;
            if self.pin.pinned != Some(list.cluster_id) {
                self.peers.forget_foreign();
            }
        }
        self.peers.configured = found.peers;
        self.source_trouble = found.trouble;
        let foreign = self.peers.note(&asked);
        self.events
            .extend(foreign.into_iter().map(|(peer, error)| ClusterEvent::Foreign(peer, error)));
        match asked.answer {
            Some((peer, list)) => {
                self.note_way(&peer, from_file);
                self.take(list)
            }
            None => self.keep_last(self.reason(&asked), asked.errors.is_empty()),
        }
    }

    fn note_way(&mut self, peer: &PeerUrl, from_file: bool) {
        if from_file {
            self.events.push(ClusterEvent::FromFile(self.file.path().to_owned()));
        }
        // Peers adopted from a list that was found with the help of the cluster file still count as
        // the file's.
        self.stats.from_file =
            from_file || self.stats.from_file && !self.peers.configured.contains(peer);
    }

    fn take(&mut self, list: MemberList) -> Outcome {
        if let Some(from) = self.cluster_id().filter(|id| *id != list.cluster_id) {
            self.events.push(ClusterEvent::Cluster { from, to: list.cluster_id });
        }
        if self.stats.success() {
            self.events.push(ClusterEvent::Recovered);
        }
        self.pin.hold(list.cluster_id);
        let list = match confirm::confirm_shrink(self.list.as_deref(), list, &self.suspected) {
            Ok(list) => list,
            Err(missing) => {
                self.suspected = missing;
                return Outcome::Fresh { changed: false };
            }
        };
        self.suspected.clear();
        self.peers.adopt(&list);
        self.keep = Some(CachedPeers::new(&list, &self.fingerprint));
        let changed = self.list.as_deref() != Some(&list);
        if changed {
            self.events.push(ClusterEvent::List(ListChange::between(self.list.as_deref(), &list)));
            self.list = Some(Arc::new(list));
        }
        Outcome::Fresh { changed }
    }

    /// Records that there is no list. When no peer could be asked, the peer discovery has already
    /// logged why.
    fn keep_last(&mut self, reason: String, is_told: bool) -> Outcome {
        if self.stats.failure(&reason) && !(is_told && self.source_trouble.is_some()) {
            self.events.push(ClusterEvent::Failing {
                reason: reason.clone(),
                have_list: self.list.is_some(),
            });
        }
        Outcome::CachedPeers { reason }
    }

    /// Logs the events, and writes the cluster file if its content has changed.
    async fn settle(&mut self) {
        self.log_news();
        let Some(keep) = self.keep.clone() else { return };
        let result = self.file.keep(keep).await.map_err(|error| error.to_string());
        if self.stats.file_written(result) {
            let path = self.file.path().to_owned();
            self.events.push(match &self.stats.file {
                Some(trouble) => ClusterEvent::FileUnwritable(path, trouble.reason.clone()),
                None => ClusterEvent::FileWritable(path),
            });
            self.log_news();
        }
    }

    /// Returns why there is no list: the source's trouble, then each peer's error.
    fn reason(&self, asked: &Asked) -> String {
        let peers = asked.errors.iter().map(|(peer, error)| format!("{peer}: {error}"));
        let more = asked.errors.len().saturating_sub(MOST_TOLD);
        let more = (more > 0).then(|| format!("{more} more peers failed"));
        let peers = peers.take(MOST_TOLD).chain(more);
        let lines: Vec<String> = self.source_trouble.iter().cloned().chain(peers).collect();
        if lines.is_empty() { "there is no peer to ask".to_owned() } else { lines.join("; ") }
    }

    fn log_news(&mut self) {
        self.events.drain(..).for_each(|event| event.log());
    }

    /// Returns whether the last list lacked members for the first time, so that the next refresh
    /// should come soon.
    pub fn needs_confirmation(&self) -> bool {
        !self.suspected.is_empty()
    }

    /// Returns the last good member list; `None` before the first.
    pub fn list(&self) -> Option<&Arc<MemberList>> {
        self.list.as_ref()
    }

    /// Returns the cluster that is served: the pinned one, which is known before the first list
    /// when the cluster file names it, else that of the last list.
    pub fn cluster_id(&self) -> Option<u64> {
        self.pin.pinned.or_else(|| self.list.as_ref().map(|list| list.cluster_id))
    }

    /// Returns the peers that are asked, and their last errors.
    pub fn peer_statuses(&self) -> Vec<PeerStatus> {
        self.peers.statuses()
    }

    /// Returns the source of the peers, if it has to be asked. What is wrong there is included
    /// while it matters: until the source has named peers, and whenever none of them answers.
    pub fn source_status(&self) -> Option<SourceStatus> {
        let name = source::describe(&self.setup.source)?;
        let matters = self.peers.configured.is_empty() || self.stats.failing.is_some();
        let trouble = self.source_trouble.clone().filter(|_| matters);
        Some(SourceStatus { name, trouble })
    }

    /// Returns a receiver of later results of the source, each a reason to refresh at once. It ends
    /// when the tracker drops the source.
    pub fn source_changes(&self) -> watch::Receiver<Discovered> {
        self.discovery.changes()
    }

    /// Returns the statistics of the refreshes.
    pub fn refresh_status(&self) -> RefreshStatus {
        self.stats.status()
    }

    /// Returns the current problems, worst first.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |since_ms, text| problems.push(Problem { since_ms, text });
        for text in self.peers.foreign() {
            add(None, text);
        }
        if let Some(trouble) = &self.stats.failing {
            let what = if self.list.is_some() {
                "the member list is not fresh"
            } else {
                "no member list yet"
            };
            add(Some(trouble.since_ms), format!("{what}: {}", trouble.reason));
        }
        if let Some(SourceStatus { trouble: Some(trouble), .. }) = self.source_status()
            && self.stats.failing.is_none()
        {
            add(None, trouble);
        }
        if self.stats.from_file {
            add(
                None,
                "no configured peer answers; the members come from peers in the cluster file"
                    .to_owned(),
            );
        }
        if let Some(trouble) = &self.stats.file {
            let path = self.file.path().display();
            add(Some(trouble.since_ms), format!("{path} cannot be written: {}", trouble.reason));
        }
        problems
    }
}

/// Chooses the peer to look at besides the first, which is asked anyway: the others take turns.
fn another(peers: &[PeerUrl], turn: usize) -> Option<&PeerUrl> {
    let others = peers.get(1..).filter(|others| !others.is_empty())?;
    others.get(turn % others.len())
}

/// The results of one round of asking.
struct Inquiry {
    found: Discovered,
    asked: Asked,
    /// Whether the answer, if any, is from a peer that only the cluster file knows.
    from_file: bool,
}

#[cfg(test)]
mod tests;
