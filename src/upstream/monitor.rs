//! Keeps watch over one endpoint: decides when its member must be probed, and when that can wait.
//!
//! A member that answers needs no probe, and one that nobody asks anything costs nothing:
//!
//! | what is under way | probe |
//! |---|---|
//! | a request has waited for [`TICK`] to two of it | at once, then at `health-interval` |
//! | a new stream has heard nothing for a tick | at once, and then as below |
//! | streams, or answered requests | health check 5 s after an answer, quorum each 10 s |
//! | nothing here, something elsewhere | health check once in `proxy-refresh-interval` |
//! | nothing anywhere | none: the refresh of the member list is all |
//! | nothing, but a page of health is asked for | health check after [`CHECK_EVERY`] |
//! | the last probe failed | at `health-interval`, more rarely after [`SOON`] |
//! | another member has just failed its probe | at once, if it is used or may be next |
//!
//! All pauses are up to a tenth shorter than said, so that many proxies do not probe in step.

use std::cell::Cell;
use std::mem::{Discriminant, discriminant};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::activity::Sample;
use super::endpoint::Endpoint;
use super::evidence::{Evidence, ProbeResult};
use super::health::{ProbeConfig, Prober};
use super::silence::HUNG_AFTER;
use crate::telemetry::time::now_ms;

/// How often it is looked whether requests wait, while any are under way.
pub const TICK: Duration = Duration::from_millis(250);
/// Longest time that a member in use goes without a sign of life.
pub const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Longest time that a member in use goes without a sign of its quorum.
pub const QUORUM_EVERY: Duration = Duration::from_secs(10);
/// Longest pause between two probes while a member's silence is short: until it is known whether it
/// hangs, writes in flight to it wait for that.
const RECHECK: Duration = Duration::from_secs(1);
/// How long a member that fails is probed at `health-interval`.
const SOON: Duration = Duration::from_secs(30);
/// Shortest pause after that.
const LATER: Duration = Duration::from_secs(5);
/// How long the connection for health checks is kept after a page of health was asked for.
const KEPT_FOR_PAGES: Duration = Duration::from_secs(60);

/// What the monitors of one proxy know of each other. All run on one thread.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// Endpoints with exchanges.
    in_use: Cell<usize>,
    /// Counts members that have failed a probe.
    failures: Cell<u64>,
    failed: Notify,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// A probe by a linearizable read, which proves member and quorum.
    Quorum,
    /// A probe by the health check, which the member answers by itself.
    Process,
    /// No probe, and no connection to be kept for one: nobody uses the proxy.
    Nothing,
}

/// Watches over `endpoint` for ever, calling `changed` whenever its health has changed. With
/// `health-interval` off it only has the endpoint prove its cluster, and keeps that connection.
/// Cancel by dropping.
pub async fn watch(
    endpoint: Arc<Endpoint>,
    probe_config: ProbeConfig,
    neighbours: Rc<Neighbours>,
    changed: impl Fn(&Endpoint, &ProbeResult),
) {
    let mut prober = Prober::new(endpoint.clone(), &probe_config);
    let Some(interval) = probe_config.interval else { return prober.keep_proof().await };
    let mut monitor = Monitor::new(endpoint.clone(), interval, probe_config.refresh, neighbours);
    loop {
        match monitor.next().await {
            Due::Nothing => {
                if !monitor.keeps_connection() {
                    prober.disconnect();
                }
                continue;
            }
            Due::Process if prober.is_alive().await => {
                monitor.checked();
                continue;
            }
            Due::Process | Due::Quorum => {}
        }
        let began = Instant::now();
        let result = prober.probe().await;
        monitor.probed(Instant::now(), result.as_ref());
        if let Some(result) = result
            && endpoint.mark_probed_at(&result, began.into_std())
        {
            changed(&endpoint, &result);
        }
        if !monitor.keeps_connection() {
            prober.disconnect();
        }
    }
}

/// The state of the watch over one endpoint.
struct Monitor {
    endpoint: Arc<Endpoint>,
    interval: Duration,
    refresh: Duration,
    neighbours: Rc<Neighbours>,
    /// What was under way when it was last looked.
    seen: Sample,
    is_in_use: bool,
    /// When an exchange was last seen to begin or to be open; `None` before the first.
    used: Option<Instant>,
    /// When a page of health was last asked for.
    check_requested: Option<Instant>,
    /// When the last probe of the quorum ended; `None` before the first.
    probed: Option<Instant>,
    /// When that or the last health check ended, or an answer was last seen.
    last_sign: Instant,
    /// When it was last found that no check is needed.
    rested: Instant,
    /// What the last probe found, if it found no proof of health.
    failure: Option<Discriminant<ProbeResult>>,
    /// Whether trouble of this host kept the last probe from finding anything.
    is_hindered: bool,
    /// Since when requests wait for longer than a tick.
    waits: Option<Instant>,
    /// Since when probes fail, or traffic does.
    failing_since: Option<Instant>,
    /// Since when streams that have begun since the last sign of life wait.
    stream_waits: Option<Instant>,
    /// The neighbours' failures that it has probed after.
    failures: u64,
    /// From 0.9 to 1, drawn anew after each probe.
    jitter: f64,
}

impl Monitor {
    fn new(
        endpoint: Arc<Endpoint>,
        interval: Duration,
        refresh: Duration,
        neighbours: Rc<Neighbours>,
    ) -> Self {
        let failures = neighbours.failures.get();
        Self {
            interval,
            // Without a pause, idle members would keep the loop busy.
            refresh: refresh.max(TICK),
            neighbours,
            // What was counted before is old.
            seen: endpoint.activity.sample(),
            endpoint,
            is_in_use: false,
            used: None,
            check_requested: None,
            probed: None,
            last_sign: Instant::now(),
            rested: Instant::now(),
            failure: None,
            is_hindered: false,
            waits: None,
            failing_since: None,
            stream_waits: None,
            failures,
            jitter: jitter(),
        }
    }

    /// Waits until a probe is due. Sleeps as long as nothing happens.
    async fn next(&mut self) -> Due {
        // Whether exchanges that begin have been waking us for a tick.
        let mut is_settled = false;
        loop {
            let now = Instant::now();
            let is_busy = self.observe(now);
            let (at, due) = self.plan(now);
            if at <= now {
                self.endpoint.activity.stay_awake();
                self.failures = self.neighbours.failures.get();
                if due == Due::Nothing {
                    self.rested = now;
                }
                return due;
            }
            if is_busy {
                is_settled = false;
                self.endpoint.activity.stay_awake();
                sleep_until(at.min(now + TICK)).await;
                self.endpoint.activity.advance();
                continue;
            }
            self.endpoint.activity.fall_asleep();
            let until = if is_settled { at } else { at.min(now + TICK) };
            is_settled = true;
            let neighbours = self.neighbours.clone();
            tokio::select! {
                () = self.endpoint.activity.woken() => is_settled = false,
                () = neighbours.failed.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Looks at what is under way. Returns whether it must be looked at again in a tick.
    fn observe(&mut self, now: Instant) -> bool {
        let sample = self.endpoint.activity.sample();
        let seen = std::mem::replace(&mut self.seen, sample);
        if sample.answered != seen.answered {
            self.last_sign = now;
            self.stream_waits = None;
            self.record(Evidence::Answered);
        } else if sample.long_begun != seen.long_begun {
            self.stream_waits.get_or_insert(now);
        }
        if sample.long == 0 {
            self.stream_waits = None;
        }
        if sample.overdue > 0 || self.stream_waits.is_some_and(|since| now - since >= TICK) {
            self.waits.get_or_insert(now);
        } else {
            self.waits = None;
        }
        if sample.open > 0 || sample.begun != seen.begun {
            self.used = Some(now);
        }
        if self.endpoint.activity.is_check_requested() {
            self.check_requested = Some(now);
        }
        self.set_in_use(self.is_used(now));
        let is_failing = self.failure.is_some() || self.is_hindered;
        match is_failing || self.endpoint.is_avoided() || !self.endpoint.is_healthy() {
            true => drop(self.failing_since.get_or_insert(now)),
            false => self.failing_since = None,
        }
        sample.open > sample.long || sample.begun != seen.begun || self.stream_waits.is_some()
    }

    fn set_in_use(&mut self, is_in_use: bool) {
        let count = self.neighbours.in_use.get();
        match (std::mem::replace(&mut self.is_in_use, is_in_use), is_in_use) {
            (false, true) => {
                self.neighbours.in_use.set(count + 1);
                if count == 0 {
                    // The others may be next, and plan anew.
                    self.neighbours.failed.notify_waiters();
                }
            }
            (true, false) => self.neighbours.in_use.set(count.saturating_sub(1)),
            _ => {}
        }
    }

    /// Returns whether anything is under way here, or was a moment ago.
    fn is_used(&self, now: Instant) -> bool {
        self.used.is_some_and(|used| now - used < QUORUM_EVERY)
    }

    /// Returns whether the connection for probes is kept.
    fn keeps_connection(&self) -> bool {
        self.may_be_next() || self.check_requested.is_some_and(|at| at.elapsed() < KEPT_FOR_PAGES)
    }

    /// Whether requests may go here soon: something is under way in this proxy.
    fn may_be_next(&self) -> bool {
        self.neighbours.in_use.get() > 0
    }

    /// When the next probe is due by what is known now, and which.
    fn plan(&self, now: Instant) -> (Instant, Due) {
        let Some(probed) = self.probed else { return (now, Due::Quorum) };
        let after = |ended: Instant, pause: Duration| ended + pause.mul_f64(self.jitter);
        if let Some(since) = self.failing_since {
            let pause = match self.failure {
                // Only traffic has failed: the checks of streams go on.
                None => self.retry_pause(now - since).min(CHECK_EVERY),
                Some(_) => self.retry_pause(now - since),
            };
            return (after(probed, pause), Due::Quorum);
        }
        let usual = if self.is_used(now) {
            let quorum = after(probed, QUORUM_EVERY);
            let check = after(self.last_sign, CHECK_EVERY);
            if quorum <= check { (quorum, Due::Quorum) } else { (check, Due::Process) }
        } else if self.check_requested.is_some_and(|at| at > self.last_sign) {
            (after(self.last_sign, CHECK_EVERY), Due::Process)
        } else {
            let due = if self.may_be_next() { Due::Process } else { Due::Nothing };
            (after(self.last_sign.max(self.rested), self.refresh), due)
        };
        let failed_nearby = self.failures != self.neighbours.failures.get() && self.may_be_next();
        let is_new = self.waits.is_some_and(|since| since > probed) || failed_nearby;
        let pause = match self.waits {
            _ if is_new => self.interval.min(RECHECK),
            Some(_) => self.interval,
            None => return usual,
        };
        let soon = after(probed, pause);
        if soon < usual.0 { (soon, Due::Quorum) } else { usual }
    }

    /// Pause before a member that has failed for so long is probed again.
    fn retry_pause(&self, failing: Duration) -> Duration {
        match self.endpoint.silence.since() {
            Some(since) if since.elapsed() < HUNG_AFTER => self.interval.min(RECHECK),
            _ if self.endpoint.no_quorum.is_on() && failing < SOON => self.interval.min(RECHECK),
            _ if failing < SOON || self.seen.overdue > 0 => self.interval,
            _ if self.keeps_connection() => self.interval.max(LATER),
            _ => self.interval.max(LATER).max(self.refresh),
        }
    }

    /// Notes an answered health check.
    fn checked(&mut self) {
        self.note_sign();
        self.record(Evidence::Checked);
    }

    /// Notes what a probe found that ended at `ended`; `None` when this host kept it from finding
    /// anything.
    fn probed(&mut self, ended: Instant, result: Option<&ProbeResult>) {
        self.probed = Some(ended);
        self.note_sign();
        self.is_hindered = result.is_none();
        let Some(result) = result else { return };
        match result {
            ProbeResult::Healthy => self.record(Evidence::Probed),
            ProbeResult::NoQuorum(_) => self.record(Evidence::Checked),
            _ => {}
        }
        let failure = (*result != ProbeResult::Healthy).then(|| discriminant(result));
        if std::mem::replace(&mut self.failure, failure) != failure && failure.is_some() {
            // Who waits here leaves only for a member that is known to serve.
            self.neighbours.failures.set(self.neighbours.failures.get() + 1);
            self.failures += 1;
            self.neighbours.failed.notify_waiters();
        }
    }

    fn record(&self, evidence: Evidence) {
        self.endpoint.evidence.record(evidence, now_ms());
    }

    fn note_sign(&mut self) {
        self.endpoint.activity.clear_request();
        self.last_sign = Instant::now();
        self.stream_waits = None;
        self.jitter = jitter();
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.set_in_use(false);
        self.endpoint.activity.stay_awake();
    }
}

fn jitter() -> f64 {
    1.0 - fastrand::f64() / 10.0
}

#[cfg(test)]
mod tests;
