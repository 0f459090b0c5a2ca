//! One client URL of a member, as all threads share it: its address and its health.
//!
//! An endpoint outlives refreshes and reloads for as long as its member lists the same URL, so its
//! health, its counters and every worker's connections survive them. All state is atomic; nothing
//! here locks on the request path.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::uri::{Authority, Scheme};

use super::activity::Activity;
use super::evidence::{LastEvidence, ProbeResult};
use super::proof::{ProofError, Proofs};
use super::protocols::{Api, Protocols};
use super::silence::Silence;
use crate::telemetry::time::now_ms;

/// Fault bit: the last probe failed. Cleared by the next one that succeeds.
const PROBE: u8 = 1;
/// Fault bit: the last proof of the endpoint's cluster failed. Cleared once it is trusted again.
const PROOF: u8 = 2;

/// No address of the endpoint has proved its cluster yet, or none has since one failed to.
const NEW: u8 = 0;
/// The last address asked has proved its cluster.
const PROVED: u8 = 1;
/// The endpoint cannot give a proof, and the settings allow requests to it anyway.
const ASSUMED: u8 = 2;

/// One client URL of a member.
#[derive(Debug)]
pub struct Endpoint {
    /// The URL as the member advertises it.
    pub url: String,
    /// The member's name, for logs and the status.
    pub member: String,
    /// The member's ID in the cluster.
    pub member_id: u64,
    /// `https` when it speaks TLS, else `http`; sent as `:scheme`.
    pub scheme: Scheme,
    /// Host name or address to connect to; with TLS, the name that its certificate must be for.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// `host:port`, sent as `:authority`.
    pub authority: Authority,
    /// `host:port`, sent as `Host`: members with a host whitelist expect their own name, not ours.
    pub host_header: HeaderValue,
    listed: AtomicBool,
    /// [`PROBE`] and [`PROOF`], or'ed.
    faults: AtomicU8,
    /// [`NEW`], [`PROVED`] or [`ASSUMED`].
    trust: AtomicU8,
    proofs: Proofs,
    /// Whether probes get a sign of life, and since when they do not.
    pub silence: Silence,
    /// Since when it answers that it cannot serve.
    pub no_quorum: Silence,
    /// The APIs it speaks, as far as known.
    pub protocols: Protocols,
    /// Until when a recent failure keeps requests away, by [`Api`], in milliseconds since `born`; 0
    /// for none.
    avoided_until: [AtomicU64; 2],
    failures: AtomicU64,
    /// Its last sign of life.
    pub evidence: LastEvidence,
    /// Open requests and streams.
    pub activity: Activity,
    born: Instant,
    /// The health state shown in the status; written on a change only.
    state: Mutex<State>,
    /// What keeps this host from probing it, and since when; `None` when nothing does.
    hindrance: Mutex<Option<State>>,
}

/// An endpoint's health as the status shows it.
#[derive(Debug, Clone)]
pub struct State {
    /// What is wrong; `None` when nothing is.
    pub reason: Option<String>,
    /// When it entered this state, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// An endpoint URL that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a host and port")]
pub struct BadAuthority(String);

impl Endpoint {
    /// Creates a healthy, listed endpoint for `workers` threads. Its addresses have yet to prove
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
            no_quorum: Silence::new(),
            evidence: LastEvidence::default(),
            protocols: Protocols::new(),
            avoided_until: Default::default(),
            failures: AtomicU64::new(0),
            activity: Activity::new(workers),
            born: Instant::now(),
            state: Mutex::new(State { reason: None, since_ms: now_ms() }),
            hindrance: Mutex::default(),
        })
    }

    /// Returns whether its connections use TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns whether it may get a request now: it is listed and [healthy](Self::is_healthy).
    pub fn is_usable(&self) -> bool {
        self.listed.load(Relaxed) && self.is_healthy()
    }

    /// Returns whether it may get a request by `api` now.
    pub fn is_usable_for(&self, api: Api) -> bool {
        self.listed.load(Relaxed) && self.faults.load(Relaxed) == 0 && self.takes(api)
    }

    /// Returns whether the last probe and the last proof found no fault, and no recent failure
    /// keeps requests away. One usable API is enough.
    pub fn is_healthy(&self) -> bool {
        self.faults.load(Relaxed) == 0 && (self.takes(Api::Grpc) || self.takes(Api::Http))
    }

    /// Returns whether it may speak `api`, and no recent failure keeps requests by it away.
    fn takes(&self, api: Api) -> bool {
        let until = self.avoided_until[api as usize].load(Relaxed);
        (until == 0 || self.age_ms() >= until) && self.protocols.speaks(api) != Some(false)
    }

    /// Returns whether a recent failure keeps requests of either API away.
    pub fn is_avoided(&self) -> bool {
        let now = self.age_ms();
        self.avoided_until.iter().any(|until| now < until.load(Relaxed))
    }

    /// Returns whether the newest generation still lists it.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }

    /// Sets whether the newest generation lists it.
    pub fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Relaxed);
    }

    /// Returns the table of addresses that have proved that they belong to our cluster.
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Returns whether it has proved its cluster, or need not. False for a new endpoint. Even on a
    /// trusted one a connection may need a proof of its own, as to another address.
    pub fn is_trusted(&self) -> bool {
        self.trust.load(Relaxed) != NEW
    }

    /// Returns whether it gets requests although it cannot give a proof.
    pub fn is_assumed(&self) -> bool {
        self.trust.load(Relaxed) == ASSUMED
    }

    /// Returns whether it answered the question for its cluster without giving a proof.
    pub fn is_unproved(&self) -> bool {
        self.faults.load(Relaxed) & PROOF != 0
    }

    /// Exempts it from the proof: a test's stand-in for a member cannot give one.
    #[cfg(test)]
    pub fn exempt(&self) {
        self.proofs.exempt((self.host.parse::<std::net::IpAddr>().unwrap(), self.port).into());
        self.mark_proved();
    }

    /// Records that an address has proved its cluster.
    pub fn mark_proved(&self) {
        self.trust(PROVED);
    }

    /// Records that it cannot give a proof, and that none is required. Returns whether this is new.
    pub fn mark_assumed(&self) -> bool {
        self.trust(ASSUMED) != ASSUMED
    }

    /// Records that a connection was admitted to an address that had proved itself before, or was
    /// assumed to belong to the cluster where no proof is required. Restores the endpoint's trust
    /// if another address has cost it that meanwhile.
    pub fn mark_admitted(&self, proof_required: bool) {
        if !self.is_trusted() {
            self.trust(if proof_required { PROVED } else { ASSUMED });
        }
    }

    /// Requires a proof of its cluster, if it was exempt until now.
    pub fn require_proof(&self) {
        // Also for an endpoint that has proved itself by now: another of its addresses may have
        // been admitted without a proof.
        self.proofs.forget();
        let _ = self.trust.compare_exchange(ASSUMED, NEW, Relaxed, Relaxed);
    }

    fn trust(&self, trust: u8) -> u8 {
        if self.faults.fetch_and(!PROOF, Relaxed) & PROOF != 0 {
            // Earlier failures of traffic were those of whatever answered there before.
            self.avoided_until.iter().for_each(|until| until.store(0, Relaxed));
            self.enter(None);
        }
        self.trust.swap(trust, Relaxed)
    }

    /// Records that an address answered without a proof. Returns whether this is new.
    pub fn mark_unproved(&self, why: &ProofError) -> bool {
        self.trust.store(NEW, Relaxed);
        let is_news = self.faults.fetch_or(PROOF, Relaxed) & PROOF == 0;
        if is_news {
            self.failures.fetch_add(1, Relaxed);
            self.enter(Some(&why.to_string()));
            self.activity.wake_monitor();
        }
        is_news
    }

    /// Records a failure seen by traffic: the endpoint is avoided for `wait` (zero: not at all).
    ///
    /// Returns whether it was usable before; always false with a `wait` of zero.
    pub fn mark_failed(&self, reason: &str, wait: Duration) -> bool {
        self.avoid(&[Api::Grpc, Api::Http], reason, wait)
    }

    /// Records a failure seen by traffic that concerns `api` only.
    ///
    /// Returns whether it was usable for `api` before; always false with a `wait` of zero.
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
        if was_usable {
            self.activity.wake_monitor();
        }
        was_usable
    }

    /// Returns whether the last probe got no sign of life at all: callers should stop waiting for
    /// it.
    pub fn is_silent(&self) -> bool {
        self.silence.is_on()
    }

    /// Records the result of a probe that began just now. Returns whether anything changed.
    pub fn mark_probed(&self, result: &ProbeResult) -> bool {
        self.mark_probed_at(result, Instant::now())
    }

    /// Records the result of a probe that began at `began`. Returns whether anything changed.
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
            _ => self.silence.end(),
        };
        let quorum_changed = match result {
            ProbeResult::NoQuorum(_) => self.no_quorum.begin(began),
            _ => self.no_quorum.end(),
        };
        let was_failed = match reason {
            Some(_) => self.faults.fetch_or(PROBE, Relaxed),
            None => self.faults.fetch_and(!PROBE, Relaxed),
        } & PROBE
            != 0;
        match (was_failed, reason) {
            (false, Some(reason)) => {
                self.failures.fetch_add(1, Relaxed);
                // The member may come back with other flags.
                self.protocols.forget(Api::Grpc);
                self.enter(Some(reason));
                true
            }
            (true, None) => {
                // Failures of traffic are out of date too: the probe has just been answered.
                self.avoided_until.iter().for_each(|until| until.store(0, Relaxed));
                self.protocols.forget(Api::Http);
                self.enter(None);
                true
            }
            (true, Some(reason)) if silence_changed || quorum_changed => {
                self.enter(Some(reason));
                true
            }
            _ => false,
        }
    }

    /// Returns its health as the status shows it.
    pub fn state(&self) -> State {
        let mut state = self.lock();
        if state.reason.is_some() && self.is_healthy() {
            *state = State { reason: None, since_ms: now_ms() };
        }
        state.clone()
    }

    /// Records what keeps this host from probing it; `None` when nothing does. It is this host's
    /// own trouble and says nothing about the member's health.
    pub fn set_hindrance(&self, reason: Option<&str>) {
        let mut hindrance = self.hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        let known = hindrance.as_ref().and_then(|state| state.reason.as_deref());
        if known != reason {
            let since_ms = hindrance.as_ref().map_or_else(now_ms, |state| state.since_ms);
            *hindrance = reason.map(|reason| State { reason: Some(reason.into()), since_ms });
        }
    }

    /// Returns what keeps this host from probing it, if anything does.
    pub fn hindrance(&self) -> Option<State> {
        self.hindrance.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how many failures were seen since it was first listed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
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
