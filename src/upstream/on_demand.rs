//! Probes a member while a write waits for it and regular probes do not tell soon whether it lives.
//!
//! A write never goes to another member, so somebody must find out that its member hangs. Regular
//! probes do, unless they are off, rare, or have ended because the member is no longer listed. Then
//! a task of this worker looks once a second whether any write was answered, and probes if none
//! was. It ends when no write waits, and after a silence a little later: other workers' writes to
//! the same member are given up by it too.

pub mod demand;

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::endpoint::Finding;
use super::health::{Prober, Probing};
use super::link::Link;
use super::silence::HUNG_AFTER;

/// Pause between two looks; also the longest `health-interval` that makes them unnecessary.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A write that waits for its answer, until this is dropped.
pub struct WaitingWrite(Rc<Link>);

impl WaitingWrite {
    /// Counts a write that begins to wait for `link`'s member.
    pub fn begin(link: &Rc<Link>) -> Self {
        let demand = link.on_demand();
        demand.waiting.set(demand.waiting.get() + 1);
        if !demand.runs.replace(true) {
            tokio::task::spawn_local(watch(link.clone()));
        }
        Self(link.clone())
    }

    /// Notes that it was answered, which proves that the member lives.
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

async fn watch(link: Rc<Link>) {
    let demand = link.on_demand();
    let mut prober = None;
    let mut found_silent = false;
    let mut unwanted_since = None;
    loop {
        let answered = demand.answered.get();
        tokio::time::sleep(LOOK_EVERY).await;
        if demand.waiting.get() > 0 {
            unwanted_since = None;
        } else if !found_silent
            || unwanted_since.get_or_insert_with(Instant::now).elapsed() > HUNG_AFTER
        {
            break;
        }
        if demand.answered.get() != answered || is_probed(&link) {
            continue;
        }
        let prober = prober.get_or_insert_with(|| {
            Prober::new(link.endpoint.clone(), &Probing::once(&link, demand.deadline.get()))
        });
        let (began, silence) = (Instant::now(), &link.endpoint.silence);
        match prober.probe().await {
            Some(Finding::Silent(_)) => {
                silence.begin(began);
                if !std::mem::replace(&mut found_silent, true) {
                    link.alarm().notify_waiters();
                }
            }
            Some(Finding::Well | Finding::Unwell(_) | Finding::Unproved(_)) => {
                found_silent = false;
                if !has_regular_probes(&link) {
                    // They tell by a connection of their own, and end it themselves.
                    silence.end();
                }
            }
            None => {}
        }
    }
    // Nobody looks on, so nobody would ever take it back.
    if found_silent && !has_regular_probes(&link) {
        link.endpoint.silence.end();
    }
    demand.runs.set(false);
}

/// Whether anybody else looks at the member from time to time.
fn has_regular_probes(link: &Link) -> bool {
    link.on_demand().interval.get().is_some() && link.endpoint.is_listed()
}

/// Whether regular probes tell soon enough.
fn is_probed(link: &Link) -> bool {
    let often = link.on_demand().interval.get().is_some_and(|interval| interval <= LOOK_EVERY);
    often && link.endpoint.is_listed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::upstream::endpoint::Endpoint;
    use crate::upstream::link::Timeouts;
    use crate::upstream::scripted::{CLUSTER, Member};

    async fn silence_after_a_good_answer(interval: Option<Duration>) -> bool {
        let member = Member::start().await;
        let (http, port) = (http::uri::Scheme::HTTP, member.at.port());
        let url = "http://127.0.0.1:1";
        let endpoint = Endpoint::new(url, CLUSTER, "m", 1, http, "127.0.0.1", port, 1).unwrap();
        let timeouts = Timeouts { proof: Duration::from_secs(10), ..Timeouts::default() };
        let link = Rc::new(Link::new(Arc::new(endpoint), 0, timeouts, Arc::default()));
        link.on_demand().set(interval, Duration::from_secs(10));
        link.endpoint.silence.begin(Instant::now());
        let write = WaitingWrite::begin(&link);
        tokio::time::timeout(10 * LOOK_EVERY, member.answers(2)).await.unwrap();
        drop(write);
        while link.on_demand().runs.get() {
            tokio::time::sleep(LOOK_EVERY / 10).await;
        }
        link.endpoint.silence.is_on()
    }

    #[tokio::test]
    async fn a_silence_is_ended_by_who_found_it() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let (rare, none) = tokio::join!(
                    silence_after_a_good_answer(Some(5 * LOOK_EVERY)),
                    silence_after_a_good_answer(None),
                );
                assert!(rare, "regular probes use a connection of their own");
                assert!(!none, "nobody else would end it");
            })
            .await;
    }
}
