//! One client URL of a member, as all threads see it: where it is, and whether it is well.
//!
//! An endpoint outlives refreshes and reloads for as long as its member lists the same URL, so its
//! health, its counters and every worker's connections survive them. All state is atomic; nothing
//! here locks on the request path.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::uri::{Authority, Scheme};

use super::proof::{ProofError, Proofs};
use super::protocols::{Api, Protocols};
use super::silence::Silence;
use crate::telemetry::time::now_ms;

/// What speaks against an endpoint until the opposite is found: the last probe.
const PROBE: u8 = 1;
/// What speaks against an endpoint until the opposite is found: the last proof of its cluster.
const PROOF: u8 = 2;

/// No address of the endpoint has proved its cluster since one failed to, or ever.
const NEW: u8 = 0;
/// The last address that was asked has proved its cluster.
const PROVED: u8 = 1;
/// No proof can be had of the endpoint, and the settings let requests go there all the same.
const ASSUMED: u8 = 2;

/// One client URL of a member.
#[derive(Debug)]
pub struct Endpoint {
    /// The URL as the member advertises it.
    pub url: String,
    /// Name of the member, for people.
    pub member: String,
    /// ID of the member.
    pub member_id: u64,
    /// `https` when it speaks TLS, else `http`: as `:scheme`.
    pub scheme: Scheme,
    /// Host name or address to connect to; with TLS, the name that its certificate must be for.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// `host:port` as `:authority`.
    pub authority: Authority,
    /// `host:port` as `Host`: members with a host whitelist want their own name, not ours.
    pub host_header: HeaderValue,
    listed: AtomicBool,
    /// [`PROBE`] and [`PROOF`].
    faults: AtomicU8,
    /// [`NEW`], [`PROVED`] or [`ASSUMED`].
    trust: AtomicU8,
    proofs: Proofs,
    /// Whether probes get a sign of life, and since when not.
    pub silence: Silence,
    /// What it speaks.
    pub protocols: Protocols,
    /// Milliseconds since `born` until which a failure keeps gRPC and HTTP away; 0 when none does.
    avoided_until: [AtomicU64; 2],
    failures: AtomicU64,
    /// Requests and streams on it, one slot for each worker, written by that worker only.
    load: Box<[AtomicU64]>,
    born: Instant,
    /// Why it is as it is, for people; written on a change only.
    state: Mutex<State>,
    /// What keeps this host from probing it, and since when.
    hindrance: Mutex<Option<State>>,
}

/// What the status shows of an endpoint's health.
#[derive(Debug, Clone)]
pub struct State {
    /// Why it is unhealthy.
    pub reason: Option<String>,
    /// When it came into this state, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// What a probe of an endpoint found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// It answered, through a quorum.
    Healthy,
    /// It is alive but cannot serve, and why: no leader, or no quorum. It is avoided; what waits
    /// for it may wait on.
    Unhealthy(String),
    /// It gave no sign of life, and why. What waits for it is interrupted.
    Unresponsive(String),
    /// It has answered and not proved that it belongs to our cluster, and why. It gets no requests.
    Unproved(String),
}

impl ProbeResult {
    /// What speaks against the endpoint; `None` when nothing does.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Healthy => None,
            Self::Unhealthy(reason) | Self::Unresponsive(reason) | Self::Unproved(reason) => {
                Some(reason)
            }
        }
    }
}

/// An endpoint's URL that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a host and port")]
pub struct BadAuthority(String);

impl Endpoint {
    /// Makes a healthy, listed endpoint for `workers` threads, whose addresses have yet to prove
    /// that they belong to `cluster`.
    ///
    /// # Errors
    /// When host and port do not form an authority.
    #[allow(clippy::too_many_arguments, reason = "each is a fact of its own")]
    pub fn new(
        url: &str,
        cluster: u64,
        member: &str,
        member_id: u64,
        scheme: Scheme,
        host: &str,
        port: u16,
        workers: usize,
    ) -> Result<Self, BadAuthority> {
        let text =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let bad = |_| BadAuthority(text.clone());
        Ok(Self {
            url: url.into(),
            member: member.into(),
            member_id,
            scheme,
            host: host.into(),
            port,
            authority: Authority::try_from(text.as_str()).map_err(bad)?,
            host_header: HeaderValue::try_from(text.as_str())
                .map_err(|_| BadAuthority(text.clone()))?,
            listed: AtomicBool::new(true),
            faults: AtomicU8::new(0),
            trust: AtomicU8::new(NEW),
            proofs: Proofs::new(cluster),
            silence: Silence::new(),
            protocols: Protocols::new(),
            avoided_until: Default::default(),
            failures: AtomicU64::new(0),
            load: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            born: Instant::now(),
            state: Mutex::new(State { reason: None, since_ms: now_ms() }),
            hindrance: Mutex::default(),
        })
    }

    /// Whether its connections are TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Whether it may get a request now: listed, and neither probe nor traffic found it unwell.
    pub fn is_usable(&self) -> bool {
        self.listed.load(Relaxed) && self.is_healthy()
    }

    /// The same for a request by `api`.
    pub fn is_usable_for(&self, api: Api) -> bool {
        self.listed.load(Relaxed) && self.faults.load(Relaxed) == 0 && self.takes(api)
    }

    /// Whether neither the last probe, nor the last proof, nor a recent failure speaks against it;
    /// one of its protocols is enough.
    pub fn is_healthy(&self) -> bool {
        self.faults.load(Relaxed) == 0 && (self.takes(Api::Grpc) || self.takes(Api::Http))
    }

    /// Whether it may speak `api`, and no recent failure keeps that away.
    fn takes(&self, api: Api) -> bool {
        let until = self.avoided_until[api as usize].load(Relaxed);
        (until == 0 || self.age_ms() >= until) && self.protocols.speaks(api) != Some(false)
    }

    /// Whether the newest generation still lists it.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }

    /// Says whether the newest generation lists it.
    pub fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Relaxed);
    }

    /// Which of its addresses have proved that they belong to our cluster.
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Whether it has proved its cluster, or needs not to; a new one has not yet. A connection to
    /// it may need another proof all the same.
    pub fn is_trusted(&self) -> bool {
        self.trust.load(Relaxed) != NEW
    }

    /// Whether requests go there although no proof can be had.
    pub fn is_assumed(&self) -> bool {
        self.trust.load(Relaxed) == ASSUMED
    }

    /// Whether it answered when it was asked for a proof of its cluster, and had none.
    pub fn is_unproved(&self) -> bool {
        self.faults.load(Relaxed) & PROOF != 0
    }

    /// Does without a proof: what a test puts in a member's place cannot give one.
    #[cfg(test)]
    pub fn exempt(&self) {
        self.proofs.exempt((self.host.parse::<std::net::IpAddr>().unwrap(), self.port).into());
        self.mark_proved();
    }

    /// Notes that an address has proved its cluster.
    pub fn mark_proved(&self) {
        self.trust(PROVED);
    }

    /// Notes that no proof can be had, and that none is required. Returns whether that is news.
    pub fn mark_assumed(&self) -> bool {
        self.trust(ASSUMED) != ASSUMED
    }

    /// Notes that a connection was admitted to an address that had proved itself before, or was
    /// assumed to belong to the cluster where no proof is required. If another address has cost the
    /// endpoint its trust meanwhile, it has that again.
    pub fn mark_admitted(&self, proof_required: bool) {
        if !self.is_trusted() {
            self.trust(if proof_required { PROVED } else { ASSUMED });
        }
    }

    /// Has it prove its cluster, if it did without until now.
    pub fn require_proof(&self) {
        // Also of an endpoint that has proved itself by now: another of its addresses may have done
        // without.
        self.proofs.forget();
        let _ = self.trust.compare_exchange(ASSUMED, NEW, Relaxed, Relaxed);
    }

    fn trust(&self, trust: u8) -> u8 {
        if self.faults.fetch_and(!PROOF, Relaxed) & PROOF != 0 {
            // What traffic held against it was about whoever answered there before.
            self.avoided_until.iter().for_each(|until| until.store(0, Relaxed));
            self.enter(None);
        }
        self.trust.swap(trust, Relaxed)
    }

    /// Notes that an address answered without a proof. Returns whether that is news.
    pub fn mark_unproved(&self, why: &ProofError) -> bool {
        self.trust.store(NEW, Relaxed);
        let is_news = self.faults.fetch_or(PROOF, Relaxed) & PROOF == 0;
        if is_news {
            self.failures.fetch_add(1, Relaxed);
            self.enter(Some(&why.to_string()));
        }
        is_news
    }

    /// Notes a failure seen by traffic: it is avoided for `wait` (zero: not at all).
    ///
    /// Returns whether it was healthy before.
    pub fn mark_failed(&self, reason: &str, wait: Duration) -> bool {
        self.avoid(&[Api::Grpc, Api::Http], reason, wait)
    }

    /// Notes a failure seen by traffic that concerns one API only.
    ///
    /// Returns whether it took requests by that before.
    pub fn mark_failed_for(&self, api: Api, reason: &str, wait: Duration) -> bool {
        self.avoid(&[api], reason, wait)
    }

    fn avoid(&self, apis: &[Api], reason: &str, wait: Duration) -> bool {
        let was_usable = apis.iter().any(|api| self.is_usable_for(*api));
        let was_healthy = self.is_healthy();
        self.failures.fetch_add(1, Relaxed);
        if wait.is_zero() {
            return false;
        }
        let until = self.age_ms().saturating_add(wait.as_millis() as u64).max(1);
        apis.iter().for_each(|api| self.avoided_until[*api as usize].store(until, Relaxed));
        if was_healthy && !self.is_healthy() {
            self.enter(Some(reason));
        }
        was_usable
    }

    /// Whether the last probe got no sign of life at all: what waits for it had better not.
    pub fn is_silent(&self) -> bool {
        self.silence.is_on()
    }

    /// Notes what a probe found that began just now. Returns whether that changed anything.
    pub fn mark_probed(&self, result: &ProbeResult) -> bool {
        self.mark_probed_at(result, Instant::now())
    }

    /// Notes what a probe found that began at `began`. Returns whether that changed anything.
    pub fn mark_probed_at(&self, result: &ProbeResult, began: Instant) -> bool {
        let reason = result.reason();
        if matches!(result, ProbeResult::Unresponsive(_) | ProbeResult::Unproved(_)) {
            self.proofs.forget();
        }
        if *result == ProbeResult::Healthy {
            self.silence.prove(began);
        }
        let silence_changed = match result {
            ProbeResult::Unresponsive(_) => self.silence.begin(began),
            ProbeResult::Healthy | ProbeResult::Unhealthy(_) | ProbeResult::Unproved(_) => {
                self.silence.end()
            }
        };
        let was_failed = match reason {
            Some(_) => self.faults.fetch_or(PROBE, Relaxed),
            None => self.faults.fetch_and(!PROBE, Relaxed),
        } & PROBE
            != 0;
        match (was_failed, reason) {
            (false, Some(reason)) => {
                self.failures.fetch_add(1, Relaxed);
                // It may come back with other flags.
                self.protocols.forget(Api::Grpc);
                self.enter(Some(reason));
                true
            }
            (true, None) => {
                // What traffic held against it is out of date too: the probe has just been
                // answered.
                self.avoided_until.iter().for_each(|until| until.store(0, Relaxed));
                self.protocols.forget(Api::Http);
                self.enter(None);
                true
            }
            (true, Some(reason)) if silence_changed => {
                self.enter(Some(reason));
                true
            }
            _ => false,
        }
    }

    /// What the status shows of its health.
    pub fn state(&self) -> State {
        let mut state = self.lock();
        if state.reason.is_some() && self.is_healthy() {
            *state = State { reason: None, since_ms: now_ms() };
        }
        state.clone()
    }

    /// Notes what keeps this host from probing it: trouble of its own, which says nothing of the
    /// member's health.
    pub fn set_hindrance(&self, reason: Option<&str>) {
        let mut hindrance = self.hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        let known = hindrance.as_ref().and_then(|state| state.reason.as_deref());
        if known != reason {
            let since_ms = hindrance.as_ref().map_or_else(now_ms, |state| state.since_ms);
            *hindrance = reason.map(|reason| State { reason: Some(reason.into()), since_ms });
        }
    }

    /// What keeps this host from probing it, if anything does.
    pub fn hindrance(&self) -> Option<State> {
        self.hindrance.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Failures seen since it was first listed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Requests and streams on it now, over all workers.
    pub fn in_flight(&self) -> u64 {
        self.load.iter().map(|slot| slot.load(Relaxed)).sum()
    }

    /// Requests and streams of one worker on it. Only that worker's thread may call this.
    pub fn load_of(&self, worker: usize) -> u64 {
        self.load.get(worker).map_or(0, |slot| slot.load(Relaxed))
    }

    /// Counts one request of `worker` more. Only that worker's thread may call this.
    pub fn begin(&self, worker: usize) {
        if let Some(slot) = self.load.get(worker) {
            slot.store(slot.load(Relaxed) + 1, Relaxed);
        }
    }

    /// Counts one request of `worker` less. Only that worker's thread may call this.
    pub fn end(&self, worker: usize) {
        if let Some(slot) = self.load.get(worker) {
            slot.store(slot.load(Relaxed).saturating_sub(1), Relaxed);
        }
    }

    fn enter(&self, reason: Option<&str>) {
        *self.lock() = State { reason: reason.map(Into::into), since_ms: now_ms() };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn age_ms(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        let url = "http://127.0.0.1:2379";
        Endpoint::new(url, 1, "infra0", 1, Scheme::HTTP, "127.0.0.1", 2379, 2).unwrap()
    }

    #[test]
    fn a_failure_keeps_traffic_away_for_the_wait_only() {
        let endpoint = endpoint();
        assert!(endpoint.mark_failed("connection refused", Duration::from_millis(5)));
        assert!(!endpoint.is_usable());
        std::thread::sleep(Duration::from_millis(10));
        assert!(endpoint.is_usable());
        assert_eq!(endpoint.state().reason, None);
    }

    #[test]
    fn a_wait_of_zero_avoids_nothing() {
        let endpoint = endpoint();
        assert!(!endpoint.mark_failed("connection refused", Duration::ZERO));
        assert!(endpoint.is_usable());
        assert_eq!(endpoint.failures(), 1);
    }

    #[test]
    fn a_probe_changes_health_once_each_way() {
        let endpoint = endpoint();
        let silent = ProbeResult::Unresponsive("no answer within 1s".into());
        assert!(endpoint.mark_probed(&silent));
        assert!(!endpoint.mark_probed(&silent));
        assert!(!endpoint.is_healthy() && endpoint.is_silent());
        assert!(endpoint.mark_probed(&ProbeResult::Healthy));
        assert!(endpoint.is_healthy());
    }

    #[test]
    fn a_proof_that_fails_speaks_against_it_until_one_succeeds() {
        let endpoint = endpoint();
        assert!(!endpoint.is_trusted() && endpoint.is_usable(), "a new one may be asked");
        endpoint.mark_proved();
        assert!(endpoint.is_trusted());
        let foreign = ProofError::Foreign { theirs: 2, ours: 1 };
        assert!(endpoint.mark_unproved(&foreign) && !endpoint.mark_unproved(&foreign));
        assert!(!endpoint.is_usable() && !endpoint.is_trusted());
        endpoint.mark_probed(&ProbeResult::Healthy);
        assert!(!endpoint.is_healthy(), "no probe makes up for a proof");
        let reason = endpoint.state().reason.unwrap();
        assert!(reason.contains("accept-cluster-id = \"2\""), "{reason}");
        endpoint.mark_proved();
        assert!(endpoint.is_usable());
        assert_eq!(endpoint.state().reason, None);
    }

    #[test]
    fn what_keeps_this_host_from_probing_says_nothing_of_the_member() {
        let endpoint = endpoint();
        endpoint.set_hindrance(Some("too many open files"));
        let first = endpoint.hindrance().unwrap();
        assert!(endpoint.is_healthy() && endpoint.failures() == 0);
        endpoint.set_hindrance(Some("host lookup failed"));
        let second = endpoint.hindrance().unwrap();
        assert_eq!(second.reason.as_deref(), Some("host lookup failed"));
        assert_eq!(second.since_ms, first.since_ms, "it has been hindered since then");
        endpoint.set_hindrance(None);
        assert!(endpoint.hindrance().is_none());
    }

    #[test]
    fn an_ipv6_address_is_written_in_brackets() {
        let endpoint =
            Endpoint::new("http://[::1]:2379", 1, "a", 1, Scheme::HTTP, "::1", 2379, 1).unwrap();
        assert_eq!(endpoint.authority, "[::1]:2379");
    }
}
