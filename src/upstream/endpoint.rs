//! One client URL of a member, as all threads see it: where it is, and whether it is well.
//!
//! An endpoint outlives refreshes and reloads for as long as its member lists the same URL, so its health, its
//! counters and every worker's connections survive them. All state is atomic; nothing here locks on the request path.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use http::uri::{Authority, Scheme};

use super::silence::Silence;

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
    probe_failed: AtomicBool,
    /// Whether probes get a sign of life, and since when not.
    pub silence: Silence,
    /// Milliseconds since `born` until which a failure keeps traffic away; 0 when none does.
    avoided_until: AtomicU64,
    failures: AtomicU64,
    /// Requests and streams on it, one slot for each worker, written by that worker only.
    load: Box<[AtomicU64]>,
    born: Instant,
    /// Why it is as it is, for people; written on a change only.
    state: Mutex<State>,
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
pub enum Finding {
    /// It answered, through a quorum.
    Well,
    /// It is alive but cannot serve, and why: no leader, or no quorum. It is avoided; what waits for it may wait on.
    Unwell(String),
    /// It gave no sign of life, and why. What waits for it is interrupted.
    Silent(String),
}

/// An endpoint's URL that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a host and port")]
pub struct BadAuthority(String);

impl Endpoint {
    /// Makes a healthy, listed endpoint for `workers` threads.
    ///
    /// # Errors
    /// When host and port do not form an authority.
    pub fn new(
        url: &str,
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
            probe_failed: AtomicBool::new(false),
            silence: Silence::new(),
            avoided_until: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            load: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            born: Instant::now(),
            state: Mutex::new(State { reason: None, since_ms: now_ms() }),
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

    /// Whether neither the last probe nor a recent failure speaks against it.
    pub fn is_healthy(&self) -> bool {
        if self.probe_failed.load(Relaxed) {
            return false;
        }
        let until = self.avoided_until.load(Relaxed);
        until == 0 || self.age_ms() >= until
    }

    /// Whether the newest generation still lists it.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }

    /// Says whether the newest generation lists it.
    pub fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Relaxed);
    }

    /// Notes a failure seen by traffic: it is avoided for `wait` (zero: not at all).
    ///
    /// Returns whether it was healthy before.
    pub fn mark_failed(&self, reason: &str, wait: Duration) -> bool {
        let was_healthy = self.is_healthy();
        self.failures.fetch_add(1, Relaxed);
        if !wait.is_zero() {
            let until = self.age_ms().saturating_add(wait.as_millis() as u64).max(1);
            self.avoided_until.store(until, Relaxed);
            if was_healthy {
                self.enter(Some(reason));
            }
        }
        was_healthy && !wait.is_zero()
    }

    /// Whether the last probe got no sign of life at all: what waits for it had better not.
    pub fn is_silent(&self) -> bool {
        self.silence.is_on()
    }

    /// Notes what a probe found that began just now. Returns whether that changed anything.
    pub fn mark_probed(&self, finding: &Finding) -> bool {
        self.mark_probed_at(finding, Instant::now())
    }

    /// Notes what a probe found that began at `began`. Returns whether that changed anything.
    pub fn mark_probed_at(&self, finding: &Finding, began: Instant) -> bool {
        let reason = match finding {
            Finding::Well => None,
            Finding::Unwell(reason) | Finding::Silent(reason) => Some(reason.as_str()),
        };
        if *finding == Finding::Well {
            self.silence.prove(began);
        }
        let silence_changed = match finding {
            Finding::Silent(_) => self.silence.begin(began),
            Finding::Well | Finding::Unwell(_) => self.silence.end(),
        };
        let was_failed = self.probe_failed.swap(reason.is_some(), Relaxed);
        match (was_failed, reason) {
            (false, Some(reason)) => {
                self.failures.fetch_add(1, Relaxed);
                self.enter(Some(reason));
                true
            }
            (true, None) => {
                // What traffic held against it is out of date too: the probe has just been answered.
                self.avoided_until.store(0, Relaxed);
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
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn age_ms(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::new("http://127.0.0.1:2379", "infra0", 1, Scheme::HTTP, "127.0.0.1", 2379, 2)
            .unwrap()
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
        let silent = Finding::Silent("no answer within 1s".into());
        assert!(endpoint.mark_probed(&silent));
        assert!(!endpoint.mark_probed(&silent));
        assert!(!endpoint.is_healthy() && endpoint.is_silent());
        assert!(endpoint.mark_probed(&Finding::Well));
        assert!(endpoint.is_healthy());
    }

    #[test]
    fn an_ipv6_address_is_written_in_brackets() {
        let endpoint =
            Endpoint::new("http://[::1]:2379", "a", 1, Scheme::HTTP, "::1", 2379, 1).unwrap();
        assert_eq!(endpoint.authority, "[::1]:2379");
    }
}
