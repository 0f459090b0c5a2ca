//! Keeps one prober running for each endpoint in force.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::fleet::Caller;
use super::generations::timeouts;
use crate::config::Settings;
use crate::tls::Connector;
use crate::upstream::endpoint::{Endpoint, Finding};
use crate::upstream::health::{self, Probing};

/// The name of what changes, for the log.
const HEALTH: &str = "health";

/// The running probers.
pub struct Probes {
    running: Vec<(Arc<Endpoint>, AbortHandle)>,
    probing: Option<Probing>,
    news: News,
}

/// Who is told of changed health: the workers at once, since requests wait there, and the control
/// plane.
#[derive(Clone)]
struct News {
    workers: Caller,
    control: Arc<Notify>,
}

impl Probes {
    /// Makes an empty set that tells `workers` of changed health, and what tells the control plane:
    /// once, however many changes there were since it looked.
    pub fn new(workers: Caller) -> (Self, Arc<Notify>) {
        let changes = Arc::<Notify>::default();
        let news = News { workers, control: changes.clone() };
        (Self { running: Vec::new(), probing: None, news }, changes)
    }

    /// Probes exactly `endpoints`, in the way that `settings` say, by TLS with `connector`.
    pub fn follow(
        &mut self,
        endpoints: &[Arc<Endpoint>],
        settings: &Settings,
        connector: Option<&Connector>,
    ) {
        let probing = Probing {
            interval: settings.health_interval,
            deadline: settings.health_timeout,
            timeouts: timeouts(settings),
            connector: connector.cloned(),
        };
        let same_way = self.probing.as_ref() == Some(&probing);
        self.probing = Some(probing.clone());
        let wanted: HashSet<*const Endpoint> = endpoints.iter().map(Arc::as_ptr).collect();
        self.running.retain(|(endpoint, task)| {
            let stays = same_way && wanted.contains(&Arc::as_ptr(endpoint));
            if !stays {
                task.abort();
            }
            stays
        });
        let running: HashSet<_> =
            self.running.iter().map(|(endpoint, _)| Arc::as_ptr(endpoint)).collect();
        for endpoint in endpoints {
            if probing.interval.is_none() {
                // Nothing would ever take back what the last probe found.
                endpoint.mark_probed(&Finding::Well);
            }
            if !running.contains(&Arc::as_ptr(endpoint)) {
                let task = tokio::task::spawn_local(probe(
                    endpoint.clone(),
                    probing.clone(),
                    self.news.clone(),
                ));
                self.running.push((endpoint.clone(), task.abort_handle()));
            }
        }
    }
}

async fn probe(endpoint: Arc<Endpoint>, probing: Probing, news: News) {
    health::watch(endpoint, probing, |endpoint, finding| {
        let (member, url) = (&endpoint.member, &endpoint.url);
        match finding {
            Finding::Well => {
                tracing::info!(state = HEALTH, %member, endpoint = %url, "member is healthy again")
            },
            Finding::Unwell(reason) => {
                tracing::warn!(state = HEALTH, %member, endpoint = %url, %reason, "member cannot serve")
            }
            Finding::Silent(reason) => {
                tracing::warn!(state = HEALTH, %member, endpoint = %url, %reason, "member does not answer")
            }
            // Told where the proof is had.
            Finding::Unproved(_) => {}
        }
        news.workers.look();
        news.control.notify_one();
    })
    .await;
}
