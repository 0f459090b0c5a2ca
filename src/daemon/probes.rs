//! Keeps one prober running for each endpoint in force.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::generations::timeouts;
use super::workers::WorkerNotifier;
use crate::config::Settings;
use crate::tls::Connector;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::evidence::ProbeResult;
use crate::upstream::health::ProbeConfig;
use crate::upstream::monitor::{self, Neighbours};

/// The `state` field of log lines about health.
const HEALTH: &str = "health";

/// The running probers.
pub struct Probes {
    running: Vec<(Arc<Endpoint>, AbortHandle)>,
    probe_config: Option<ProbeConfig>,
    neighbours: Rc<Neighbours>,
    notifier: HealthNotifier,
}

/// Notifies of changed health: the workers at once, since requests wait there, and the control
/// plane.
#[derive(Clone)]
struct HealthNotifier {
    workers: WorkerNotifier,
    control: Arc<Notify>,
}

impl Probes {
    /// Makes an empty set that notifies `workers` of changed health. The [`Notify`] is for the
    /// control plane, which is notified once, however many changes there were since it last looked.
    pub fn new(workers: WorkerNotifier) -> (Self, Arc<Notify>) {
        let changes = Arc::<Notify>::default();
        let notifier = HealthNotifier { workers, control: changes.clone() };
        (
            Self { running: Vec::new(), probe_config: None, neighbours: Rc::default(), notifier },
            changes,
        )
    }

    /// Probes exactly `endpoints`, as `settings` say, over TLS with `connector`.
    pub fn follow(
        &mut self,
        endpoints: &[Arc<Endpoint>],
        settings: &Settings,
        connector: Option<&Connector>,
    ) {
        let probe_config = ProbeConfig {
            interval: settings.health_interval,
            refresh: settings.refresh_interval,
            deadline: settings.health_timeout,
            timeouts: timeouts(settings),
            connector: connector.cloned(),
        };
        let same_way = self.probe_config.as_ref() == Some(&probe_config);
        self.probe_config = Some(probe_config.clone());
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
            if probe_config.interval.is_none() {
                // Without probes, nothing would ever correct the result of the last one.
                endpoint.mark_probed(&ProbeResult::Healthy);
            }
            if !running.contains(&Arc::as_ptr(endpoint)) {
                let task = tokio::task::spawn_local(probe(
                    endpoint.clone(),
                    probe_config.clone(),
                    self.neighbours.clone(),
                    self.notifier.clone(),
                ));
                self.running.push((endpoint.clone(), task.abort_handle()));
            }
        }
    }
}

async fn probe(
    endpoint: Arc<Endpoint>,
    probe_config: ProbeConfig,
    neighbours: Rc<Neighbours>,
    notifier: HealthNotifier,
) {
    monitor::watch(endpoint, probe_config, neighbours, |endpoint, result| {
        let (member, url) = (&endpoint.member, &endpoint.url);
        match result {
            ProbeResult::Healthy => {
                tracing::info!(state = HEALTH, %member, endpoint = %url, "member is healthy again")
            },
            ProbeResult::Unhealthy(reason) | ProbeResult::NoQuorum(reason) => {
                tracing::warn!(state = HEALTH, %member, endpoint = %url, %reason, "member cannot serve")
            }
            ProbeResult::Unresponsive(reason) => {
                tracing::warn!(state = HEALTH, %member, endpoint = %url, %reason, "member does not answer")
            }
            // Logged where the proof is checked.
            ProbeResult::Unproved(_) => {}
        }
        notifier.workers.recheck();
        notifier.control.notify_one();
    })
    .await;
}
