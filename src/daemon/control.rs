//! The control loop: the only place that makes decisions about the daemon as a whole.
//!
//! It waits for the next event (a refresh that is due, a change of the settings file, a signal, a
//! command, an endpoint's health, a worker's end) and acts on it. All of its state is in
//! [`Control`]; the parts that it acts through are modules of their own. A refresh works on a copy
//! of the tracker in its own task, so that slow peers never hold up the loop.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep_until};

use super::certificates::Certificates;
use super::endpoint_set::EndpointSet;
use super::history::{History, Trigger};
use super::listeners::Listeners;
use super::pages::Renderer;
use super::probes::Probes;
use super::signals::{Signal, Signals};
use super::status_line::status_line;
use super::status_source::{ControlState, StatusSource};
use super::systemd::Notifier;
use super::task::finished;
use super::throttle::Throttle;
use super::watch::FileWatcher;
use super::watchdog::Watchdog;
use super::workers::Workers;
use crate::cluster::eligibility::{self, EvaluatedMembers};
use crate::cluster::member::hex_id;
use crate::cluster::peer_discovery::Discovered;
use crate::cluster::tracker::{Outcome, Tracker};
use crate::config::{Inputs, Loaded};
use crate::proxy::generation::Generation;
use crate::server::admin::{MOST_RELOADS, ReloadRequest};
use crate::telemetry::log::LogHandle;
use crate::telemetry::snapshot::{ReloadRecord, Snapshot};
use crate::telemetry::time::now_ms;
use crate::tls::TlsConfigs;
use crate::upstream::balance::MOST_CONSIDERED;

/// Pause between two tries to get the first member list, and between two refreshes while no
/// endpoint is known.
const FIRST_TRIES: Duration = Duration::from_secs(1);
/// How often STATUS is made anew; it is sent only when it differs. The first one is made at the
/// start, before anything else.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// Least time between two STATUS lines about the health of members: with many members it changes
/// faster than anybody can read.
const HEALTH_PAUSE: Duration = Duration::from_millis(250);
/// How far the start timeout is extended while the cluster cannot be reached; asked for again with
/// each STATUS.
const EXTENSION: Duration = Duration::from_secs(60);

/// The time that a stop may take in addition to draining.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// The state of the control plane.
pub struct Control {
    pub(super) inputs: Inputs,
    pub(super) loaded: Loaded,
    pub(super) tls_configs: TlsConfigs,
    pub(super) certificates: Certificates,
    pub(super) log: Rc<LogHandle>,
    pub(super) tracker: Tracker,
    pub(super) source_changes: watch::Receiver<Discovered>,
    pub(super) listed: Arc<EvaluatedMembers>,
    pub(super) endpoint_set: EndpointSet,
    pub(super) number: u64,
    pub(super) newest: Arc<ArcSwap<Generation>>,
    pub(super) workers: Workers,
    pub(super) listeners: Listeners,
    pub(super) renderer: Renderer,
    pub(super) probes: Probes,
    pub(super) history: History,
    pub(super) status_source: Arc<StatusSource>,
    pub(super) notifier: Notifier,
    pub(super) watch: FileWatcher,
    pub(super) started_ms: u64,
    pub(super) ready: bool,
    pub(super) draining: bool,
    pub(super) refreshing: Option<JoinHandle<(Tracker, Outcome, Option<EvaluatedMembers>)>>,
    pub(super) refresh_at: Instant,
    /// When held listeners are opened at the latest, even without a member list.
    pub(super) open_at: Instant,
}

/// The sources of events that are not part of [`Control`].
pub struct Events {
    pub(super) signals: Signals,
    pub(super) health: Arc<Notify>,
    pub(super) commands: mpsc::Receiver<ReloadRequest>,
}

/// Why the loop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to stop, and everything is closed.
    Stopped,
    /// A worker ended unexpectedly.
    WorkerLost,
}

impl Control {
    /// Runs until a stop signal, or until a worker is lost.
    pub async fn run(mut self, mut events: Events) -> End {
        let mut status = interval(STATUS_EVERY);
        let mut watchdog = Watchdog::new(&self.notifier, self.workers.notifier());
        let mut health = Throttle::new(HEALTH_PAUSE);
        self.publish_state();
        loop {
            // Work that takes time, on a file or a peer, is abandoned when a stop comes.
            let mut is_stopped = false;
            // All requests that wait when a reload begins are answered by it.
            let mut requests = Vec::new();
            tokio::select! {
                signal = events.signals.next() => match signal {
                    Signal::Reload => {
                        let reload = Box::pin(self.reload_anew(Trigger::Signal));
                        is_stopped = until_stop(&mut events.signals, &mut watchdog, reload).await.is_none();
                    }
                    Signal::Stop | Signal::StopNow => is_stopped = true,
                },
                due = self.certificates.due() => {
                    let renewal = Box::pin(self.renew_certificates(due));
                    is_stopped = until_stop(&mut events.signals, &mut watchdog, renewal).await.is_none();
                }
                state = self.watch.changed() => {
                    let reload = Box::pin(self.reload(Trigger::File, state));
                    is_stopped = until_stop(&mut events.signals, &mut watchdog, reload).await.is_none();
                }
                1.. = events.commands.recv_many(&mut requests, MOST_RELOADS) => {
                    let reload = Box::pin(self.reload_anew(Trigger::Command));
                    match until_stop(&mut events.signals, &mut watchdog, reload).await {
                        // The client may have left; the outcome is in the log too.
                        Some(record) => requests.into_iter().for_each(|request| {
                            let _ = request.answer.send(record.clone());
                        }),
                        None => is_stopped = true,
                    }
                }
                () = events.health.notified() => health.want(),
                () = health.due() => self.apply_health(),
                () = sleep_until(self.refresh_at), if self.refreshing.is_none() => self.begin_refresh(),
                Ok(()) = self.source_changes.changed(), if self.refreshing.is_none() => self.refresh_at = Instant::now(),
                () = sleep_until(self.open_at), if self.workers.holds() => self.workers.release(),
                refreshed = finished(&mut self.refreshing) => self.end_refresh(refreshed).await,
                _ = status.tick() => self.report_start_progress(),
                () = watchdog.beat() => {}
                number = self.workers.one_ended() => {
                    tracing::error!(worker = number, "a worker has ended; ending the daemon so that it is restarted");
                    return End::WorkerLost;
                }
            }
            if is_stopped {
                return self.stop(&mut events).await;
            }
        }
    }

    /// Reloads with the settings file as it is now.
    async fn reload_anew(&mut self, trigger: Trigger) -> ReloadRecord {
        let seen = self.watch.catch_up().await.clone();
        self.reload(trigger, seen).await
    }

    fn begin_refresh(&mut self) {
        let mut tracker = self.tracker.clone();
        let own = self.listeners.client_addresses();
        self.refreshing = Some(tokio::task::spawn_local(async move {
            let outcome = tracker.refresh().await;
            let listed = match (&outcome, tracker.list()) {
                (Outcome::Fresh { .. }, Some(list)) => {
                    Some(eligibility::evaluate(list, &own).await)
                }
                _ => None,
            };
            (tracker, outcome, listed)
        }));
    }

    async fn end_refresh(
        &mut self,
        refreshed: Option<(Tracker, Outcome, Option<EvaluatedMembers>)>,
    ) {
        self.finish_refresh(refreshed);
        self.workers.release();
    }

    fn finish_refresh(&mut self, refreshed: Option<(Tracker, Outcome, Option<EvaluatedMembers>)>) {
        self.refreshing = None;
        let Some((tracker, outcome, listed)) = refreshed else {
            self.refresh_at = Instant::now() + FIRST_TRIES;
            return;
        };
        self.tracker = tracker;
        if let Some(listed) = listed {
            listed.log_changes(Some(&self.listed));
            self.publish(listed.into());
        }
        if !self.ready {
            self.first_list(&outcome);
        }
        let eager = !self.ready
            || self.endpoint_set.endpoints().is_empty()
            || self.tracker.needs_confirmation();
        let pause = if eager { FIRST_TRIES.min(self.interval()) } else { self.interval() };
        self.refresh_at = Instant::now() + pause;
        self.report_status();
    }

    fn first_list(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Fresh { .. } if self.listed.has_usable() => {
                self.ready = true;
                tracing::info!(
                    members = self.listed.members.len(),
                    listeners = %self.listeners.client_urls().join(","),
                    "ready"
                );
                self.report_status();
                self.notifier.ready();
            }
            // The members have not started, or have no usable client URL: there is nothing to serve
            // yet.
            _ => {}
        }
    }

    /// Reports to systemd what the start waits for, and asks for more time meanwhile. This runs on
    /// a timer and not only after each refresh, because one with peers that hang can take longer
    /// than the start timeout.
    fn report_start_progress(&mut self) {
        if !self.ready {
            self.notifier.extend_timeout(EXTENSION);
        }
        self.report_status();
    }

    fn interval(&self) -> Duration {
        self.loaded.settings.refresh_interval
    }

    /// Publishes a generation with these members and the settings in force.
    ///
    /// A list of the same cluster without any usable client URL does not replace endpoints that may
    /// still answer: such a list has been seen from a member that had just lost its own.
    pub(super) fn publish(&mut self, listed: Arc<EvaluatedMembers>) {
        let cluster = self.tracker.cluster_id();
        let mut endpoints =
            cluster.map(|cluster| self.endpoint_set.plan(&listed, cluster)).unwrap_or_default();
        if endpoints.is_empty()
            && cluster == self.endpoint_set.cluster()
            && !self.endpoint_set.endpoints().is_empty()
        {
            tracing::warn!(
                "the member list names no client URL that can be used, keeping the last ones that could"
            );
            endpoints = self.endpoint_set.endpoints().to_vec();
        }
        self.listed = listed;
        let (settings, tls_configs) = (&self.loaded.settings, &self.tls_configs);
        let generation = Generation::build(self.number, settings, tls_configs, endpoints.clone());
        self.endpoint_set.commit(&endpoints, cluster);
        self.newest.store(Arc::new(generation));
        self.renderer.set_acceptor(self.tls_configs.acceptor.clone());
        self.workers.recheck();
        let connector = Some(&self.tls_configs.upstream);
        self.probes.follow(&endpoints, &self.loaded.settings, connector);
        self.publish_state();
    }

    /// Publishes the current state for snapshots.
    pub(super) fn publish_state(&self) {
        let mut base = Snapshot {
            version: 1,
            daemon_version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_ms: self.started_ms,
            mode: self.loaded.settings.mode.into(),
            generation: self.number,
            cluster_id: self.tracker.cluster_id().map(hex_id),
            ready: self.ready,
            draining: self.draining,
            listeners: self.listeners.client_urls(),
            metrics_listeners: self.listeners.metrics_urls(),
            workers: self.loaded.settings.workers.get(),
            source: self.tracker.source_status(),
            peers: self.tracker.peer_statuses(),
            refresh: self.tracker.refresh_status(),
            ..Snapshot::default()
        };
        self.history.fill(&mut base);
        self.status_source.publish(ControlState {
            base,
            listed: self.listed.clone(),
            endpoints: self.endpoint_set.endpoints().clone(),
            list_problems: self.tracker.problems(),
            certificates: self.tls_configs.certificates.clone(),
        });
    }

    /// Reports changed health. When there are more endpoints than a request considers, also
    /// reorders them so that those that can serve come first.
    fn apply_health(&mut self) {
        if self.endpoint_set.endpoints().len() > MOST_CONSIDERED {
            self.publish(self.listed.clone());
        }
        self.send_status_line();
    }

    /// Publishes the current state and reports it to systemd.
    pub(super) fn report_status(&mut self) {
        self.publish_state();
        self.send_status_line();
    }

    /// Reports the current state to systemd. Health is not part of what is published, so a change
    /// of health needs no more than this.
    fn send_status_line(&mut self) {
        let line = status_line(&self.status_source.snapshot(), now_ms());
        self.notifier.status(&line);
    }

    /// Stops in good order: no new connections are accepted, open exchanges finish, and what is
    /// still open at the deadline is cut off. A second signal stops at once.
    async fn stop(mut self, events: &mut Events) -> End {
        // Reload requests that come now are told that it is too late.
        events.commands.close();
        while events.commands.try_recv().is_ok() {}
        let limit = self.loaded.settings.drain_timeout;
        tracing::info!(drain_timeout = ?limit, "stopping");
        self.draining = true;
        self.notifier.stopping();
        self.notifier.extend_timeout(limit + STOP_MARGIN);
        self.report_status();
        self.workers.drain(limit);
        loop {
            tokio::select! {
                () = self.workers.all_ended() => break,
                signal = events.signals.next() => if signal != Signal::Reload {
                    tracing::warn!("told to stop a second time, ending at once");
                    break;
                },
            }
        }
        // "stopped" is the last line: repeated lines that are held back are written before it.
        self.log.flush_held(Duration::from_secs(1));
        tracing::info!("stopped");
        self.log.flush(Duration::from_secs(1));
        End::Stopped
    }
}

/// Runs the work, and feeds the watchdog meanwhile. Returns `None` when a stop came first, which
/// drops the work.
async fn until_stop<T>(
    signals: &mut Signals,
    watchdog: &mut Watchdog,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = signals.next_stop() => None,
        done = watchdog.beside(work) => Some(done),
    }
}
