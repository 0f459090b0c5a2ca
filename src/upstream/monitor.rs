//! Keeps watch over one endpoint: decides when its member must be probed, and when that can wait.
//!
//! A member that answers needs no probe, and one that nobody asks anything costs nothing:
//!
//! | what is under way | probe |
//! |---|---|
//! | a request has waited for [`TICK`] to two of it | at once, then at `health-interval` |
//! | a new stream has heard nothing for a tick | at once, and then as below |
//! | streams alone | health check each [`CHECK_EVERY`], quorum each [`QUORUM_EVERY`] |
//! | nothing here, something elsewhere | health check once in `proxy-refresh-interval` |
//! | nothing anywhere | none: the refresh of the member list is all |
//! | the last probe failed | at `health-interval`, more rarely after [`SOON`] |
//! | another member has just failed its probe | at once, if it is used or may be next |
//!
//! All pauses are up to a tenth shorter than said, so that many proxies do not probe in step.

use std::cell::Cell;
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
/// Longest time that a member with streams alone goes without a sign of life.
pub const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Longest time that a member with streams alone goes without a sign of its quorum.
pub const QUORUM_EVERY: Duration = Duration::from_secs(10);
/// Longest pause between two probes while a member's silence is short: until it is known whether it
/// hangs, writes in flight to it wait for that.
const RECHECK: Duration = Duration::from_secs(1);
/// How long a member that fails is probed at `health-interval`.
const SOON: Duration = Duration::from_secs(30);
/// Shortest pause after that.
const LATER: Duration = Duration::from_secs(5);

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
                prober.disconnect();
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
        monitor.probed(began, result.as_ref());
        if let Some(result) = result
            && endpoint.mark_probed_at(&result, began.into_std())
        {
            changed(&endpoint, &result);
        }
        if !monitor.may_be_next() {
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
    /// When the last probe of the quorum began; `None` before the first.
    probed: Option<Instant>,
    /// When it ended, or the last health check did, or an answer was last seen.
    last_sign: Instant,
    /// Whether the last probe found no proof of health.
    probe_failed: bool,
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
            endpoint,
            interval,
            refresh,
            neighbours,
            seen: Sample::default(),
            is_in_use: false,
            probed: None,
            last_sign: Instant::now(),
            probe_failed: false,
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
            let is_busy = self.look(now);
            let (at, due) = self.plan(now);
            if at <= now {
                self.endpoint.activity.stay_awake();
                self.failures = self.neighbours.failures.get();
                if due == Due::Process && !self.may_be_next() {
                    self.last_sign = now;
                    return Due::Nothing;
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
    fn look(&mut self, now: Instant) -> bool {
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
        self.set_in_use(sample.open > 0);
        match self.probe_failed || !self.endpoint.is_healthy() {
            true => drop(self.failing_since.get_or_insert(now)),
            false => self.failing_since = None,
        }
        sample.open > sample.long || sample.begun != seen.begun || self.stream_waits.is_some()
    }

    fn set_in_use(&mut self, is_in_use: bool) {
        let count = self.neighbours.in_use.get();
        match (std::mem::replace(&mut self.is_in_use, is_in_use), is_in_use) {
            (false, true) => self.neighbours.in_use.set(count + 1),
            (true, false) => self.neighbours.in_use.set(count.saturating_sub(1)),
            _ => {}
        }
    }

    /// Whether requests may go here soon: something is under way in this proxy.
    fn may_be_next(&self) -> bool {
        self.neighbours.in_use.get() > 0
    }

    /// When the next probe is due by what is known now, and which.
    fn plan(&self, now: Instant) -> (Instant, Due) {
        let Some(probed) = self.probed else { return (now, Due::Quorum) };
        let after = |began: Instant, pause: Duration| began + pause.mul_f64(self.jitter);
        if let Some(since) = self.failing_since {
            return (after(probed, self.retry_pause(now - since)), Due::Quorum);
        }
        let stream_waits = self.stream_waits.is_some_and(|since| now - since >= TICK);
        let may_be_wanted = self.failures != self.neighbours.failures.get() && self.may_be_next();
        if self.seen.overdue > 0 || stream_waits || may_be_wanted {
            return (after(probed, self.interval), Due::Quorum);
        }
        if self.seen.long == 0 {
            return (after(self.last_sign, self.refresh), Due::Process);
        }
        let quorum = after(probed, QUORUM_EVERY);
        let check = after(self.last_sign, CHECK_EVERY);
        if quorum <= check { (quorum, Due::Quorum) } else { (check, Due::Process) }
    }

    /// Pause before a member that has failed for so long is probed again.
    fn retry_pause(&self, failing: Duration) -> Duration {
        match self.endpoint.silence.since() {
            Some(since) if since.elapsed() < HUNG_AFTER => self.interval.min(RECHECK),
            _ if failing < SOON => self.interval,
            _ if self.may_be_next() => self.interval.max(LATER),
            _ => self.interval.max(LATER).max(self.refresh),
        }
    }

    /// Notes an answered health check.
    fn checked(&mut self) {
        self.note_sign();
        self.record(Evidence::Checked);
    }

    /// Notes what a probe found that began at `began`; `None` when this host kept it from finding
    /// anything.
    fn probed(&mut self, began: Instant, result: Option<&ProbeResult>) {
        self.probed = Some(began);
        self.note_sign();
        if matches!(result, Some(result) if !matches!(result, ProbeResult::Unresponsive(_))) {
            self.record(Evidence::Probed);
        }
        let has_failed = result != Some(&ProbeResult::Healthy);
        if !std::mem::replace(&mut self.probe_failed, has_failed) && has_failed && result.is_some()
        {
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
mod tests {
    use http::uri::Scheme;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);
    const REFRESH: Duration = Duration::from_secs(30);

    /// A monitor whose first probe was answered at the moment that is returned.
    fn healthy(neighbours: &Rc<Neighbours>) -> (Monitor, Instant) {
        let url = "http://127.0.0.1:2379";
        let endpoint = Endpoint::new(url, 1, "m", 1, Scheme::HTTP, "127.0.0.1", 2379, 1).unwrap();
        let mut monitor = Monitor::new(endpoint.into(), INTERVAL, REFRESH, neighbours.clone());
        let began = Instant::now();
        assert_eq!(monitor.plan(began), (began, Due::Quorum), "nothing is known of a new one");
        monitor.probed(began, Some(&ProbeResult::Healthy));
        (monitor, began)
    }

    /// What is due, and after how many seconds since `began` at the latest.
    fn plan(monitor: &mut Monitor, began: Instant, now: Instant) -> (u64, Due) {
        monitor.jitter = 1.0;
        monitor.look(now);
        let (at, due) = monitor.plan(now);
        ((at - began).as_secs_f64().round() as u64, due)
    }

    #[test]
    fn nothing_is_probed_while_nobody_asks_anything() {
        let neighbours = Rc::default();
        let (mut monitor, began) = healthy(&neighbours);
        assert_eq!(plan(&mut monitor, began, began), (30, Due::Process));
        assert!(!monitor.may_be_next(), "so even that is left out");
        let (mut other, _) = healthy(&neighbours);
        let _stream = other.endpoint.activity.begin(0, true);
        other.look(began);
        assert!(monitor.may_be_next(), "requests may come here when the other fails");
    }

    #[test]
    fn a_request_that_waits_is_due_at_once_and_then_at_the_interval() {
        let neighbours = Rc::default();
        let (mut monitor, began) = healthy(&neighbours);
        let activity = monitor.endpoint.clone();
        let mut waits = activity.activity.begin(0, false);
        let later = began + 5 * INTERVAL;
        assert!(monitor.look(later), "it is looked at again in a tick");
        assert_eq!(plan(&mut monitor, began, later).1, Due::Process);
        activity.activity.advance();
        activity.activity.advance();
        assert_eq!(plan(&mut monitor, began, later), (1, Due::Quorum), "overdue for long");
        monitor.probed(later, Some(&ProbeResult::Healthy));
        assert_eq!(plan(&mut monitor, began, later), (6, Due::Quorum));
        activity.activity.answer(0, &mut waits);
        assert_eq!(plan(&mut monitor, began, later).1, Due::Process);
    }

    #[test]
    fn an_idle_stream_is_checked_by_both_probes_at_their_pace() {
        let neighbours = Rc::default();
        let (mut monitor, began) = healthy(&neighbours);
        let mut stream = monitor.endpoint.activity.begin(0, true);
        assert!(monitor.look(began), "it may be told nothing");
        monitor.endpoint.clone().activity.answer(0, &mut stream);
        assert_eq!(plan(&mut monitor, began, began), (5, Due::Process));
        monitor.last_sign = began + CHECK_EVERY;
        assert_eq!(plan(&mut monitor, began, began + CHECK_EVERY), (10, Due::Quorum));
    }

    #[test]
    fn a_new_stream_that_hears_nothing_for_a_tick_is_probed_for_once() {
        let neighbours = Rc::default();
        let (mut monitor, began) = healthy(&neighbours);
        let _stream = monitor.endpoint.activity.begin(0, true);
        let later = began + 2 * INTERVAL;
        assert_eq!(plan(&mut monitor, began, later).1, Due::Process);
        assert_eq!(plan(&mut monitor, began, later + TICK), (1, Due::Quorum));
        monitor.probed(later + TICK, Some(&ProbeResult::Healthy));
        assert_eq!(plan(&mut monitor, began, later + 2 * TICK).1, Due::Process);
    }

    #[test]
    fn a_failing_member_is_probed_at_the_interval_and_later_more_rarely() {
        let neighbours = Rc::default();
        let (mut monitor, began) = healthy(&neighbours);
        monitor.probed(began, Some(&ProbeResult::Unhealthy("no leader".into())));
        assert_eq!(plan(&mut monitor, began, began), (1, Due::Quorum));
        let late = began + SOON;
        monitor.probed(late, Some(&ProbeResult::Unhealthy("no leader".into())));
        assert_eq!(plan(&mut monitor, began, late), (60, Due::Quorum), "nobody is connected");
        let _request = monitor.endpoint.activity.begin(0, false);
        assert_eq!(plan(&mut monitor, began, late), (35, Due::Quorum));
        monitor.probed(late, Some(&ProbeResult::Healthy));
        assert_eq!(plan(&mut monitor, began, late).1, Due::Process);
    }

    #[test]
    fn a_failure_that_traffic_has_seen_is_probed_for() {
        let neighbours = Rc::default();
        let (mut monitor, began) = healthy(&neighbours);
        monitor.endpoint.mark_proved();
        monitor.endpoint.mark_failed("connection refused", REFRESH);
        assert_eq!(plan(&mut monitor, began, began), (1, Due::Quorum));
    }

    #[test]
    fn when_a_member_in_use_fails_the_others_are_probed_at_once() {
        let neighbours = Rc::default();
        let ((mut failed, began), (mut other, _)) = (healthy(&neighbours), healthy(&neighbours));
        let later = began + 2 * INTERVAL;
        let _stream = failed.endpoint.activity.begin(0, true);
        failed.look(later);
        failed.probed(later, Some(&ProbeResult::Unresponsive("no answer".into())));
        assert_eq!(plan(&mut other, began, later), (1, Due::Quorum));
        other.failures = neighbours.failures.get();
        assert_eq!(plan(&mut other, began, later).1, Due::Process);
        assert_eq!(failed.failures, neighbours.failures.get(), "it has just been probed itself");
    }

    #[test]
    fn trouble_of_this_host_is_probed_again_and_alarms_nobody() {
        let neighbours = Rc::default();
        let (mut monitor, began) = healthy(&neighbours);
        monitor.probed(began, None);
        assert_eq!(plan(&mut monitor, began, began), (1, Due::Quorum));
        assert_eq!(neighbours.failures.get(), 0);
    }
}
