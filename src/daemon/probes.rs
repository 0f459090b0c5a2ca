//! Keeps one prober running for each endpoint in force.

use std::sync::Arc;

use tokio::sync::mpsc;
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

/// Who is told of changed health: the workers at once, since requests wait there, and the control plane.
#[derive(Clone)]
struct News {
    workers: Caller,
    control: mpsc::UnboundedSender<()>,
}

impl Probes {
    /// Makes an empty set that tells `workers` of changed health, and the channel that tells the control plane.
    pub fn new(workers: Caller) -> (Self, mpsc::UnboundedReceiver<()>) {
        let (control, changes) = mpsc::unbounded_channel();
        let news = News { workers, control };
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
        self.running.retain(|(endpoint, task)| {
            let stays = same_way && endpoints.iter().any(|wanted| Arc::ptr_eq(wanted, endpoint));
            if !stays {
                task.abort();
            }
            stays
        });
        for endpoint in endpoints {
            if probing.interval.is_none() {
                // Nothing would ever take back what the last probe found.
                endpoint.mark_probed(&Finding::Well);
            }
            if !self.running.iter().any(|(running, _)| Arc::ptr_eq(running, endpoint)) {
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
        let _ = news.control.send(());
    })
    .await;
}
