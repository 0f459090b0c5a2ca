//! Probes a member while a write waits for it and regular probes would not tell soon enough whether
//! it is alive.
//!
//! A write that was sent is never retried on another member, so a hung member must be detected
//! while the write waits. Regular probes do that, unless they are off, rarer than once a second, or
//! have ended because the member is no longer listed. In those cases a task of this worker checks
//! once a second whether any write was answered, and probes if none was. It ends when no write
//! waits, or 5 s after that if it found the member silent: other workers' writes to the member are
//! given up by that silence too.

pub mod demand;

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::evidence::ProbeResult;
use super::health::{ProbeConfig, Prober};
use super::silence::HUNG_AFTER;
use super::worker_endpoint::WorkerEndpoint;

/// Pause between two checks; also the longest `health-interval` that makes them unnecessary.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A write that waits for its answer, until this is dropped.
pub struct WaitingWrite(Rc<WorkerEndpoint>);

impl WaitingWrite {
    /// Counts a write that begins to wait for `upstream`'s member, and starts the task if it does
    /// not run.
    pub fn begin(upstream: &Rc<WorkerEndpoint>) -> Self {
        let demand = upstream.on_demand();
        demand.waiting.set(demand.waiting.get() + 1);
        if !demand.runs.replace(true) {
            tokio::task::spawn_local(watch(upstream.clone()));
        }
        Self(upstream.clone())
    }

    /// Records that the write was answered, which proves that the member is alive.
    pub fn answered(&self) {
        let demand = self.0.on_demand();
        demand.answered.set(demand.answered.get().wrapping_add(1));
    }
}

impl Drop for WaitingWrite {
    fn drop(&mut self) {
        let demand = self.0.on_demand();
        demand.waiting.set(demand.waiting.get().saturating_sub(1));
    }
}

async fn watch(upstream: Rc<WorkerEndpoint>) {
    let demand = upstream.on_demand();
    let mut prober: Option<(u64, Prober)> = None;
    let mut found_silent = false;
    let mut began_here = false;
    let mut unwanted_since = None;
    loop {
        let answered = demand.answered.get();
        tokio::time::sleep(CHECK_EVERY).await;
        if demand.waiting.get() > 0 {
            unwanted_since = None;
        } else if !found_silent
            || unwanted_since.get_or_insert_with(Instant::now).elapsed() > HUNG_AFTER
        {
            break;
        }
        if demand.answered.get() != answered || is_probed(&upstream) {
            continue;
        }
        if prober.as_ref().is_none_or(|(epoch, _)| *epoch != upstream.epoch()) {
            // A prober made under older settings may check too little, or use an old certificate.
            let config = ProbeConfig::once(&upstream, demand.deadline.get());
            let made = Prober::new(upstream.endpoint.clone(), &config);
            prober = Some((upstream.epoch(), made));
        }
        let Some((_, prober)) = &mut prober else { continue };
        let (began, silence) = (Instant::now(), &upstream.endpoint.silence);
        match prober.probe().await {
            Some(ProbeResult::Unresponsive(_)) => {
                began_here |= silence.begin(began);
                if !std::mem::replace(&mut found_silent, true) {
                    upstream.recheck().notify_waiters();
                }
            }
            Some(_) => {
                found_silent = false;
                // Regular probes use a connection of their own, and end the silences that they
                // began.
                if std::mem::take(&mut began_here) || !has_regular_probes(&upstream) {
                    silence.end();
                }
            }
            None => {}
        }
    }
    // Nothing probes the member any more, so nothing else would end the silence.
    if found_silent && (began_here || !has_regular_probes(&upstream)) {
        upstream.endpoint.silence.end();
    }
    demand.runs.set(false);
}

/// Returns whether the control plane probes the member from time to time.
fn has_regular_probes(upstream: &WorkerEndpoint) -> bool {
    upstream.on_demand().interval.get().is_some() && upstream.endpoint.is_listed()
}

/// Returns whether regular probes run at least once a second.
fn is_probed(upstream: &WorkerEndpoint) -> bool {
    let often = upstream.on_demand().interval.get().is_some_and(|interval| interval <= CHECK_EVERY);
    often && upstream.endpoint.is_listed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::upstream::endpoint::Endpoint;
    use crate::upstream::scripted::{CLUSTER, Member};
    use crate::upstream::worker_endpoint::Timeouts;

    async fn silence_after_a_good_answer(interval: Option<Duration>) -> bool {
        let member = Member::start().await;
        let (http, port) = (http::uri::Scheme::HTTP, member.at.port());
        let url = "http://127.0.0.1:1";
        let endpoint = Endpoint::new(url, CLUSTER, "m", 1, http, "127.0.0.1", port, 1).unwrap();
        let timeouts = Timeouts { proof: Duration::from_secs(10), ..Timeouts::default() };
        let upstream =
            Rc::new(WorkerEndpoint::new(Arc::new(endpoint), 0, timeouts, Arc::default()));
        upstream.on_demand().set(interval, Duration::from_secs(10));
        upstream.endpoint.silence.begin(Instant::now());
        let write = WaitingWrite::begin(&upstream);
        tokio::time::timeout(10 * CHECK_EVERY, member.answers(2)).await.unwrap();
        drop(write);
        while upstream.on_demand().runs.get() {
            tokio::time::sleep(CHECK_EVERY / 10).await;
        }
        upstream.endpoint.silence.is_on()
    }

    #[tokio::test]
    async fn a_silence_that_was_found_on_demand_ends_on_demand_beside_rare_probes() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let member = Member::start().await;
                let (http, port) = (http::uri::Scheme::HTTP, member.at.port());
                let url = "http://127.0.0.1:1";
                let endpoint =
                    Endpoint::new(url, CLUSTER, "m", 1, http, "127.0.0.1", port, 1).unwrap();
                let timeouts = Timeouts { proof: Duration::from_secs(10), ..Timeouts::default() };
                let upstream =
                    Rc::new(WorkerEndpoint::new(Arc::new(endpoint), 0, timeouts, Arc::default()));
                upstream.on_demand().set(Some(100 * CHECK_EVERY), CHECK_EVERY / 2);
                member.be_late(CHECK_EVERY);
                let _write = WaitingWrite::begin(&upstream);
                let silence = &upstream.endpoint.silence;
                let becomes = async |on: bool| {
                    while silence.is_on() != on {
                        tokio::time::sleep(CHECK_EVERY / 20).await;
                    }
                };
                tokio::time::timeout(20 * CHECK_EVERY, becomes(true)).await.unwrap();
                tokio::time::timeout(20 * CHECK_EVERY, becomes(false)).await.unwrap();
            })
            .await;
    }

    #[tokio::test]
    async fn a_silence_is_ended_by_who_found_it() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let (rare, none) = tokio::join!(
                    silence_after_a_good_answer(Some(5 * CHECK_EVERY)),
                    silence_after_a_good_answer(None),
                );
                assert!(rare, "regular probes use a connection of their own");
                assert!(!none, "nobody else would end it");
            })
            .await;
    }
}
