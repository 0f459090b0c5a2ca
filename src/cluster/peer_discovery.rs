//! Finds the peers in the background, for sources that have to be asked: a registry or the DNS.
//!
//! A [`PeerDiscovery`] is a task of its own, because a registry may take days to fill up, and
//! pauses between tries grow to minutes. The refresh of the member list reads the peers found so
//! far, and reports when none of them answers; then the source is asked again. Peers that were
//! found are kept until the source names others.
//!
//! Its log lines are not limited when they repeat (`every = true`), because there are few: one for
//! each change, and one for each try at growing pauses.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::discovery_service::{self, Registered, RegistryError};
use super::srv::{Looked, Records};
use crate::config::{Discovery, PeerSource, PeerUrl, SrvDomain};
use crate::tls::Connector;

/// How long one wait for registrations lasts before the registry is read again. It is shorter than
/// the idle timeouts of load balancers, and limits what a silently lost connection costs.
const WAIT: Duration = Duration::from_secs(60);

/// Least time between two reads of the source, whatever it does.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between tries, as etcd's: 2^8 seconds.
const MOST_DOUBLINGS: u32 = 8;

/// The separator between an error and the time of the next try.
const NEXT_TRY: &str = "; next try after ";

/// Pause after a failed DNS lookup.
const SRV_RETRY: Duration = Duration::from_secs(10);

/// The longest pause between two lookups while no peer answers, unless the records expire sooner.
const SRV_RARELY: Duration = Duration::from_secs(30);

/// The result of a source so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The peers, in the order in which to ask them.
    pub peers: Vec<PeerUrl>,
    /// What is missing or wrong at the source, in one line; `None` when all is well, or nothing is
    /// known yet.
    pub trouble: Option<String>,
    /// Whether there was a result yet, even if only an error.
    pub settled: bool,
}

impl Discovered {
    /// Returns what is missing or wrong at the source, without the time of the next try, for
    /// callers that will not wait for it.
    pub fn trouble_now(&self) -> Option<&str> {
        let trouble = self.trouble.as_deref()?;
        Some(trouble.split(NEXT_TRY).next().unwrap_or(trouble))
    }
}

/// A handle to the search for peers, and its result so far. Dropping the last clone ends the
/// search.
#[derive(Debug, Clone)]
pub struct PeerDiscovery {
    found: watch::Receiver<Discovered>,
    feedback: Arc<Feedback>,
    _search: Option<Arc<Search>>,
}

/// Feedback from the refresh, which asks the peers.
#[derive(Debug, Default)]
struct Feedback {
    /// Notified when no peer answers.
    none_answers: Notify,
    /// Whether a peer has answered since this was last read.
    one_answered: AtomicBool,
}

impl Feedback {
    /// Discards an earlier report that no peer answers.
    fn forget(&self) {
        pin!(self.none_answers.notified()).as_mut().enable();
    }
}

/// A running search.
#[derive(Debug)]
struct Search(tokio::task::JoinHandle<()>);

impl Drop for Search {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl PeerDiscovery {
    /// Starts to look for the peers of `source`, with `tls` for a registry that is reached by
    /// `https`. `before` are the peers that an earlier discovery found at the same source.
    ///
    /// A static list needs no task; any other source does, and so a runtime.
    pub fn start(source: &PeerSource, tls: &Connector, before: Vec<PeerUrl>) -> Self {
        let feedback = Arc::<Feedback>::default();
        let task = |peers: Vec<PeerUrl>| {
            let (found, seen) = watch::channel(Discovered { peers, ..Discovered::default() });
            (DiscoveryTask { found, feedback: feedback.clone(), tries: 0, repeats: 0 }, seen)
        };
        let (found, search) = match source {
            PeerSource::Static(peers) => {
                let found = Discovered { peers: peers.clone(), trouble: None, settled: true };
                (watch::channel(found).1, None)
            }
            PeerSource::Discovery(discovery) => {
                let (task, found) = task(before);
                (found, Some(tokio::spawn(task.read_registry(discovery.clone(), tls.clone()))))
            }
            PeerSource::Srv(srv) => {
                let (task, found) = task(before);
                (found, Some(tokio::spawn(task.follow_dns(srv.clone()))))
            }
        };
        Self { found, feedback, _search: search.map(|task| Arc::new(Search(task))) }
    }

    /// Returns the result so far.
    pub fn found(&self) -> Discovered {
        self.found.borrow().clone()
    }

    /// Waits for the first result of the source, for at most `limit`.
    pub async fn first_result(&self, limit: Duration) -> Discovered {
        let mut found = self.found.clone();
        let _ = timeout(limit, found.wait_for(|found| found.settled)).await;
        self.found()
    }

    /// Returns a receiver of every later change of the result, so that a change need not wait for
    /// the next refresh.
    pub fn changes(&self) -> watch::Receiver<Discovered> {
        let mut changes = self.found.clone();
        changes.mark_unchanged();
        changes
    }

    /// Reports that no peer answers: the source is asked for newer ones.
    pub fn search_again(&self) {
        self.feedback.none_answers.notify_one();
    }

    /// Reports that one of the peers found has answered.
    pub fn is_good(&self) {
        self.feedback.one_answered.store(true, Ordering::Relaxed);
    }
}

/// The task's side of a peer discovery.
struct DiscoveryTask {
    found: watch::Sender<Discovered>,
    feedback: Arc<Feedback>,
    /// Failed tries since the last success.
    tries: u32,
    /// How often in a row the source named the same peers, while none of them answered.
    repeats: u32,
}

impl DiscoveryTask {
    async fn read_registry(mut self, discovery: Discovery, tls: Connector) {
        loop {
            let looked = Instant::now();
            match self.fetch_once(&discovery, &tls).await {
                Ok(true) => self.wait(Duration::from_secs(1 << self.repeats)).await,
                Ok(false) => {}
                Err(error) => self.back_off(&error).await,
            }
            sleep_until(looked + LEAST_PAUSE).await;
        }
    }

    /// Reads the registry once, and waits for more members if some are missing. Returns whether all
    /// are registered.
    async fn fetch_once(
        &mut self,
        discovery: &Discovery,
        tls: &Connector,
    ) -> Result<bool, RegistryError> {
        let seen = discovery_service::fetch(discovery, tls).await?;
        if seen.is_complete() {
            let peers = seen.peers()?;
            self.tries = 0;
            self.complete(&seen, peers);
            return Ok(true);
        }
        let word = seen.to_string();
        if self.found.borrow().trouble.as_ref() != Some(&word) {
            tracing::info!(every = true, "{word}, waiting for the others");
        }
        self.publish(None, Some(word));
        discovery_service::changed(discovery, tls, &seen, WAIT).await?;
        self.tries = 0;
        Ok(false)
    }

    /// Publishes the peers of a complete cluster. If they are the same again although none of them
    /// answers, the next read comes later.
    fn complete(&mut self, seen: &Registered, peers: Vec<PeerUrl>) {
        let is_same = self.found.borrow().peers == peers;
        if !is_same || self.found.borrow().trouble.is_some() {
            tracing::info!(every = true, peers = %shown(&peers), "{seen}: the cluster is complete");
        }
        self.count_in_vain(!is_same);
        self.publish(Some(peers), None);
    }

    /// Counts reads that brought nothing new while no peer answered; the pauses between them grow.
    fn count_in_vain(&mut self, has_changed: bool) {
        let has_answered = self.feedback.one_answered.swap(false, Ordering::Relaxed);
        let repeats = if has_changed || has_answered { 0 } else { self.repeats + 1 };
        self.repeats = MOST_DOUBLINGS.min(repeats);
    }

    /// Publishes the error and waits as long as etcd would: twice as long after each failure. For
    /// an error at which etcd would exit it waits the longest pause, because etcd's service manager
    /// would restart it, too.
    async fn back_off(&mut self, error: &RegistryError) {
        self.tries =
            if error.is_fatal() { MOST_DOUBLINGS } else { MOST_DOUBLINGS.min(self.tries + 1) };
        let pause = Duration::from_secs(1 << self.tries);
        let word = format!("{error}{NEXT_TRY}{} s", pause.as_secs());
        if error.is_fatal() {
            tracing::error!(
                every = true,
                "discovery cannot go on: {word}, or when the settings change"
            );
        } else {
            tracing::warn!(every = true, "discovery failed: {word}");
        }
        self.publish(None, Some(word));
        sleep(pause).await;
    }

    async fn follow_dns(mut self, srv: SrvDomain) {
        let mut records = Records::default();
        loop {
            let looked = records.look_up(&srv).await;
            self.count_in_vain(looked.as_ref().is_ok_and(|looked| looked.changed));
            let pause = match looked {
                Ok(Looked { ttl, changed }) => {
                    self.take(&srv, changed.then(|| records.in_order()));
                    ttl
                }
                Err(error) => {
                    let word = error.to_string();
                    if self.found.borrow().trouble.as_ref() != Some(&word) {
                        tracing::warn!(every = true, "{word}");
                    }
                    self.publish(None, Some(word));
                    SRV_RETRY
                }
            };
            self.wait_at_most(pause).await;
        }
    }

    /// Publishes the peers that the records name now, if they have changed, and clears the error.
    fn take(&mut self, srv: &SrvDomain, peers: Option<Vec<PeerUrl>>) {
        if let Some(peers) = &peers {
            tracing::info!(every = true, domain = srv.domain, peers = %shown(peers), "SRV records name these peers");
        }
        self.publish(peers, None);
    }

    fn publish(&mut self, peers: Option<Vec<PeerUrl>>, trouble: Option<String>) {
        self.found.send_if_modified(|found| {
            let peers = peers.unwrap_or_else(|| found.peers.clone());
            let now = Discovered { peers, trouble, settled: true };
            let is_news = *found != now;
            *found = now;
            is_news
        });
    }

    /// Waits for at least `least`, and then until no peer answers.
    async fn wait(&self, least: Duration) {
        // Feedback from before now was about the previous result.
        self.feedback.forget();
        sleep(least).await;
        self.feedback.none_answers.notified().await;
    }

    /// Waits until no peer answers, for at most `most`. It always waits a little, and longer each
    /// time that nothing new was found.
    async fn wait_at_most(&self, most: Duration) {
        let least = LEAST_PAUSE * (1 << (1 + self.repeats));
        let _ = timeout(most, self.wait(least.min(SRV_RARELY))).await;
    }
}

fn shown(peers: &[PeerUrl]) -> String {
    peers.iter().map(PeerUrl::to_string).collect::<Vec<_>>().join(",")
}
