//! Finding the peers in the background, for sources that have to be asked: a registry or the DNS.
//!
//! A [`PeerDiscovery`] is a task of its own, because a registry may take days to fill up, and
//! pauses between tries grow to minutes. Whoever refreshes the member list reads what was found so
//! far, and says when no peer answers, which is a reason to look again. What was found once is kept
//! until something better is found.
//!
//! Its log lines are few by themselves (`every = true`): changes, and tries at growing pauses.

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

/// How long a wait for registrations lasts before the registry is looked at again: shorter than the
/// patience of load balancers, so that a connection that is silently lost costs no more.
const WAIT: Duration = Duration::from_secs(60);

/// Least time between two looks, whatever the source does.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The longest of etcd's pauses between tries, in powers of two of seconds.
const MOST_DOUBLINGS: u32 = 8;

/// What stands between a trouble and when it is tried again.
const NEXT_TRY: &str = "; next try after ";

/// Pause after a failed DNS lookup.
const SRV_RETRY: Duration = Duration::from_secs(10);

/// The longest pause between two lookups while no peer answers, if the records do not expire
/// sooner.
const SRV_RARELY: Duration = Duration::from_secs(30);

/// What a source has given so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The peers, in the order in which they are to be asked.
    pub peers: Vec<PeerUrl>,
    /// What the source lacks or suffers, in one line; `None` when all is well, or nothing is known
    /// yet.
    pub trouble: Option<String>,
    /// Whether the source has said anything yet, if only that it does not work.
    pub settled: bool,
}

impl Discovered {
    /// What the source lacks or suffers, for somebody who will not wait for another try.
    pub fn trouble_now(&self) -> Option<&str> {
        let trouble = self.trouble.as_deref()?;
        Some(trouble.split(NEXT_TRY).next().unwrap_or(trouble))
    }
}

/// Knows what the source has given, and looks for more. The last clone to go ends the search.
#[derive(Debug, Clone)]
pub struct PeerDiscovery {
    found: watch::Receiver<Discovered>,
    feedback: Arc<Feedback>,
    _search: Option<Arc<Search>>,
}

/// What those who ask the peers have said.
#[derive(Debug, Default)]
struct Feedback {
    /// No peer answers.
    none_answers: Notify,
    /// A peer has answered since this was last looked at.
    one_answered: AtomicBool,
}

impl Feedback {
    /// Forgets that no peer answers.
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
    /// Starts to look for the peers of `source`, by `tls` where a registry wants it; `before` is
    /// what it gave to a peer discovery before this one.
    ///
    /// A list needs no task; anything else does, and so a runtime.
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

    /// What was found so far.
    pub fn found(&self) -> Discovered {
        self.found.borrow().clone()
    }

    /// Waits until the source has said something, for at most `limit`.
    pub async fn first_result(&self, limit: Duration) -> Discovered {
        let mut found = self.found.clone();
        let _ = timeout(limit, found.wait_for(|found| found.settled)).await;
        self.found()
    }

    /// Notes every change from now on of what was found, so that it need not wait for the next
    /// refresh.
    pub fn changes(&self) -> watch::Receiver<Discovered> {
        let mut changes = self.found.clone();
        changes.mark_unchanged();
        changes
    }

    /// Says that no peer answers, so that the source may have something newer.
    pub fn search_again(&self) {
        self.feedback.none_answers.notify_one();
    }

    /// Says that a peer of those that were found has answered.
    pub fn is_good(&self) {
        self.feedback.one_answered.store(true, Ordering::Relaxed);
    }
}

/// The task's side of a peer discovery.
struct DiscoveryTask {
    found: watch::Sender<Discovered>,
    feedback: Arc<Feedback>,
    /// Tries that failed since one went well.
    tries: u32,
    /// How often the source named the same peers again, while none of them answered.
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

    /// Looks at the registry once, and waits for more members if some are missing. Returns whether
    /// all are there.
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

    /// Publishes the peers of a complete cluster. To name the same again helps nobody, so the next
    /// look comes later.
    fn complete(&mut self, seen: &Registered, peers: Vec<PeerUrl>) {
        let is_same = self.found.borrow().peers == peers;
        if !is_same || self.found.borrow().trouble.is_some() {
            tracing::info!(every = true, peers = %shown(&peers), "{seen}: the cluster is complete");
        }
        self.count_in_vain(!is_same);
        self.publish(Some(peers), None);
    }

    /// Counts looks that brought nothing new while no peer answered; they come at longer and longer
    /// pauses.
    fn count_in_vain(&mut self, has_changed: bool) {
        let has_answered = self.feedback.one_answered.swap(false, Ordering::Relaxed);
        let repeats = if has_changed || has_answered { 0 } else { self.repeats + 1 };
        self.repeats = MOST_DOUBLINGS.min(repeats);
    }

    /// Publishes what is wrong, and lets the time pass that etcd would: twice as long after each
    /// failure. Where etcd would end, the longest pause is made: its service manager would start it
    /// again, too.
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

    /// Takes over what the records name now, if that is something else than before.
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

    /// Waits until no peer answers, and a little.
    async fn wait(&self, least: Duration) {
        // What was said before now was about the answer before.
        self.feedback.forget();
        sleep(least).await;
        self.feedback.none_answers.notified().await;
    }

    /// Waits until no peer answers, or for `most`; always a little, and longer while that helps
    /// nobody.
    async fn wait_at_most(&self, most: Duration) {
        let least = LEAST_PAUSE * (1 << (1 + self.repeats));
        let _ = timeout(most, self.wait(least.min(SRV_RARELY))).await;
    }
}

fn shown(peers: &[PeerUrl]) -> String {
    peers.iter().map(PeerUrl::to_string).collect::<Vec<_>>().join(",")
}
