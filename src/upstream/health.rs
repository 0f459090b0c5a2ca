//! Active probes: can a member answer, rather than only accept connections?
//!
//! The probe is a linearizable Range of one key that nobody uses, with a deadline. It passes
//! through the leader and a quorum. etcd checks permissions only after that
//! (`server/etcdserver/v3_server.go`, Range), so an auth error proves as much as a result, provided
//! that the member has proved its cluster before (see [`proof`](super::proof)); from anything else
//! it proves nothing. A member that does not answer in time is asked by gRPC's health check as
//! well: if it answers that, it is alive and only the quorum is missing, so requests that wait for
//! it are left alone.
//!
//! Probes run on the control plane, on a connection of their own that is kept open while the proxy
//! is used. When one is due is for [`monitor`](super::monitor) to say.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::call::{Answer, Until, call};
use super::connect_error::ConnectError;
use super::endpoint::Endpoint;
use super::evidence::ProbeResult;
use super::http_probe;
use super::http1::idle::IdleConn;
use super::http2::{Connection, PoolKind};
use super::proof::ProofError;
use super::protocols::{Api, Denial};
use super::worker_endpoint::{Timeouts, WorkerEndpoint};
use crate::tls::Connector;

/// `RangeRequest { key: "\0", limit: 1, count_only: true }` as one gRPC message.
const RANGE: &[u8] = &[0, 0, 0, 0, 7, 0x0a, 1, 0, 0x18, 1, 0x48, 1];
const CHECK_PATH: &str = "/grpc.health.v1.Health/Check";
/// `HealthCheckRequest {}` as one gRPC message.
const CHECK: &[u8] = &[0, 0, 0, 0, 0];
/// Pause between two checks of the proof when probes are off.
const PROOF_EVERY: Duration = Duration::from_secs(1);

/// How an endpoint is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// `health-interval`: pause between two probes while something waits or fails; `None` when
    /// probes are off.
    pub interval: Option<Duration>,
    /// `proxy-refresh-interval`: pause between two checks of a member that nobody uses.
    pub refresh: Duration,
    /// `health-timeout`: deadline of one probe.
    pub deadline: Duration,
    /// Limits of the probe's own connection.
    pub timeouts: Timeouts,
    /// The TLS connector for it; with `None` no `https` member can be reached.
    pub connector: Option<Connector>,
}

impl ProbeConfig {
    /// Returns the configuration for a single probe of `upstream`'s endpoint, within `deadline`.
    pub fn once(upstream: &WorkerEndpoint, deadline: Duration) -> Self {
        Self {
            interval: None,
            refresh: Duration::ZERO,
            deadline,
            timeouts: upstream.timeouts(),
            connector: upstream.connector(),
        }
    }
}

/// Probes `endpoint` once, on a connection of its own. Returns `None` when this host's own trouble
/// prevented the probe.
pub async fn probe_once(
    endpoint: Arc<Endpoint>,
    probe_config: &ProbeConfig,
) -> Option<ProbeResult> {
    Prober::new(endpoint, probe_config).probe().await
}

/// Probes an endpoint, over a connection that it keeps open.
pub struct Prober {
    upstream: Rc<WorkerEndpoint>,
    deadline: Duration,
    connection: Option<Rc<Connection>>,
    /// Attempts to connect. The first outlives the probes that wait for it, since connecting may
    /// take longer than one probe.
    connecting: JoinSet<Result<Rc<Connection>, ConnectError>>,
    /// The latest attempt.
    last: Option<AbortHandle>,
    /// Whether the last probe met something other than gRPC.
    met_no_grpc: bool,
}

impl Prober {
    /// Creates a prober without a connection.
    pub fn new(endpoint: Arc<Endpoint>, probe_config: &ProbeConfig) -> Self {
        let upstream =
            WorkerEndpoint::new(endpoint, usize::MAX, probe_config.timeouts, Arc::default());
        upstream.set_connector(probe_config.connector.as_ref());
        Self {
            upstream: Rc::new(upstream),
            deadline: probe_config.deadline,
            connection: None,
            connecting: JoinSet::new(),
            last: None,
            met_no_grpc: false,
        }
    }

    /// Probes once and returns the result; `None` when this host's own trouble prevented the probe.
    pub async fn probe(&mut self) -> Option<ProbeResult> {
        let protocols = &self.upstream.clone().endpoint.protocols;
        // Asked for gRPC again before that lapses: else gRPC calls would go there until the next
        // probe.
        if protocols.speaks(Api::Grpc) == Some(false)
            && !protocols.is_denial_ending(Api::Grpc)
            && let Some(result) = http_probe::probe(&self.upstream, self.deadline).await
        {
            return Some(result);
        }
        let mut result = self.over_grpc().await;
        if matches!(result, Some(ProbeResult::Unproved(_))) && self.upstream.endpoint.is_trusted() {
            // Another address of its name has proved itself, and the one that did not is dialled
            // last now.
            result = self.over_grpc().await;
        }
        if self.met_no_grpc {
            // Once more, since a connection may break for many reasons.
            result = self.over_grpc().await;
        }
        if self.met_no_grpc {
            return match http_probe::probe(&self.upstream, self.deadline).await {
                None | Some(ProbeResult::Unresponsive(_)) => result,
                found => {
                    self.note_http_only();
                    found
                }
            };
        }
        if matches!(result, Some(ProbeResult::Healthy)) {
            protocols.confirm(Api::Grpc);
        }
        result
    }

    /// Records that the URL speaks HTTP only: gRPC was tried at least twice, and only HTTP
    /// answered.
    fn note_http_only(&self) {
        let endpoint = &self.upstream.endpoint;
        endpoint.protocols.confirm(Api::Http);
        if endpoint.protocols.deny(Api::Grpc, Denial::Answered) {
            tracing::debug!(
                member = %endpoint.member, endpoint = %endpoint.url,
                "speaks no gRPC here, probing it over HTTP"
            );
        }
    }

    async fn over_grpc(&mut self) -> Option<ProbeResult> {
        self.met_no_grpc = false;
        // The name is looked up outside of the deadline: the lookup has its own limit, and says
        // nothing about the member.
        let ready = match self.open_connection().await {
            Some(_) => Ok(()),
            None => self.upstream.resolve().await.map_err(Unanswered::from),
        };
        let asked = match ready {
            Ok(()) => timeout(self.deadline, self.range()).await,
            Err(unanswered) => Ok(Err(unanswered)),
        };
        let hindrance = match &asked {
            Ok(Err(Unanswered::Ours(reason))) => Some(reason.as_str()),
            _ => None,
        };
        self.upstream.endpoint.set_hindrance(hindrance);
        Some(match asked {
            Ok(Err(Unanswered::Ours(_))) => return None,
            Ok(Ok(())) => ProbeResult::Healthy,
            Ok(Err(Unanswered::NoQuorum(reason))) => ProbeResult::NoQuorum(reason),
            Ok(Err(Unanswered::Status(reason))) => ProbeResult::Unhealthy(reason),
            Ok(Err(Unanswered::Unproved(reason))) => {
                self.connection = None;
                ProbeResult::Unproved(reason)
            }
            Ok(Err(Unanswered::Connection(reason))) => {
                self.connection = None;
                ProbeResult::Unresponsive(reason)
            }
            Ok(Err(Unanswered::Broken(reason))) => {
                self.connection = None;
                ProbeResult::Unresponsive(self.diagnose(reason).await)
            }
            Ok(Err(Unanswered::TurnedAway(reason))) => {
                self.connection = None;
                ProbeResult::Unhealthy(reason)
            }
            Err(_) => self.alive_without_answer().await,
        })
    }

    /// Returns whether the member answers its health check, over the connection that the last probe
    /// left open. Without one it is not asked.
    pub async fn is_alive(&mut self) -> bool {
        let Some(connection) = self.open_connection().await else { return false };
        let check = call(&connection, &self.upstream.endpoint, CHECK_PATH, CHECK, Until::End);
        match timeout(self.deadline, check).await {
            Ok(Ok(answer)) => answer.end_text("grpc-status").is_some(),
            _ => false,
        }
    }

    /// Closes the connections that are kept for the next probe.
    pub fn disconnect(&mut self) {
        self.connection = None;
        self.upstream.close_idle();
    }

    /// Finds out whether a connection broke because the member speaks TLS while its URL says
    /// `http`.
    async fn diagnose(&self, reason: String) -> String {
        if self.upstream.endpoint.is_tls() {
            return reason;
        }
        match timeout(self.deadline, self.upstream.speaks_tls()).await {
            Ok(true) => {
                self.upstream.connect_error(&"it speaks TLS, but its URL says http").to_string()
            }
            _ => reason,
        }
    }

    /// Tells a member without a quorum from one that hangs, by gRPC's health check.
    async fn alive_without_answer(&mut self) -> ProbeResult {
        let reason = format!("no answer within {:?}", self.deadline);
        let Some(connection) = &self.connection else { return ProbeResult::Unresponsive(reason) };
        let check = call(connection, &self.upstream.endpoint, CHECK_PATH, CHECK, Until::End);
        match timeout(self.deadline / 4, check).await {
            Ok(Ok(_)) => ProbeResult::NoQuorum(format!("{reason}; alive, but without a quorum")),
            _ => {
                self.connection = None;
                ProbeResult::Unresponsive(reason)
            }
        }
    }

    async fn range(&mut self) -> Result<(), Unanswered> {
        let (connection, is_new) = match self.open_connection().await {
            Some(connection) => (connection, false),
            None => match self.connect().await {
                Ok(made) => (made, true),
                Err(why) => {
                    self.met_no_grpc = why.is_broken();
                    return Err(why.into());
                }
            },
        };
        let path = "/etcdserverpb.KV/Range";
        match call(&connection, &self.upstream.endpoint, path, RANGE, Until::End).await {
            Ok(answer) => {
                let is_grpc = answer.end_text("grpc-status").is_some();
                self.met_no_grpc = !is_grpc;
                evaluate(&answer, self.upstream.endpoint.proofs().cluster())
            }
            Err(_) if let Some(why) = connection.refusal() => {
                Err(Unanswered::TurnedAway(self.upstream.connect_error(why).to_string()))
            }
            Err(error) => {
                self.met_no_grpc = is_new;
                Err(Unanswered::Broken(self.describe(&connection, &error)))
            }
        }
    }

    fn describe(&self, connection: &Connection, error: &h2::Error) -> String {
        match self.upstream.explain_silent_close().filter(|_| connection.is_mute()) {
            Some(likely_cause) => likely_cause.to_string(),
            None => error.to_string(),
        }
    }

    async fn open_connection(&self) -> Option<Rc<Connection>> {
        let connection = self.connection.clone()?;
        let open = std::future::poll_fn(|cx| std::task::Poll::Ready(connection.is_open(cx))).await;
        open.then_some(connection)
    }

    async fn connect(&mut self) -> Result<Rc<Connection>, ConnectError> {
        while let Some(ended) = self.connecting.try_join_next() {
            if let Ok(Ok(made)) = ended {
                self.connection = Some(made);
                if let Some(made) = self.open_connection().await {
                    return Ok(self.keep(made));
                }
            }
        }
        // Each probe starts a fresh attempt beside the first one: TCP resends lost packets of an
        // old attempt ever more rarely.
        if self.connecting.len() > 1
            && let Some(last) = self.last.take()
        {
            last.abort();
        }
        let upstream = self.upstream.clone();
        let attempt = async move { upstream.http2(PoolKind::Unary).await };
        self.last = Some(self.connecting.spawn_local(attempt));
        loop {
            match self.connecting.join_next().await {
                Some(Ok(outcome)) => return outcome.map(|made| self.keep(made)),
                Some(Err(_)) => {} // The attempt that was just aborted.
                None => return Err(ConnectError::after_another()),
            }
        }
    }

    fn keep(&mut self, made: Rc<Connection>) -> Rc<Connection> {
        self.connecting = JoinSet::new();
        self.connection = Some(made.clone());
        made
    }

    /// Keeps a connection open that has proved the endpoint's cluster. Cancel by dropping.
    pub async fn keep_proof(&mut self) {
        let mut over_http: Option<IdleConn> = None;
        loop {
            let is_kept = over_http.as_mut().is_some_and(IdleConn::is_alive);
            if is_kept {
                self.note_http_only();
            } else if self.open_connection().await.is_none() {
                // `connect` records the outcome of the proof itself.
                self.connection = None;
                let speaks_no_grpc = self.connect().await.is_err_and(|why| why.is_broken());
                if speaks_no_grpc && let Ok(kept) = self.upstream.new_http1().await {
                    over_http = Some(kept);
                }
            }
            tokio::time::sleep(PROOF_EVERY).await;
        }
    }
}

/// Why a probe did not find the member healthy.
enum Unanswered {
    /// The member answered that it has no leader, or gave up waiting for a quorum.
    NoQuorum(String),
    /// The member answered that it cannot serve.
    Status(String),
    /// The member did not prove that it belongs to our cluster.
    Unproved(String),
    /// No connection could be made.
    Connection(String),
    /// The connection broke.
    Broken(String),
    /// New connections are refused in a way that says nothing about those that are open.
    TurnedAway(String),
    /// This host's own trouble prevented the attempt.
    Ours(String),
}

impl From<ConnectError> for Unanswered {
    fn from(error: ConnectError) -> Self {
        match error {
            error if error.is_ours() => Self::Ours(error.to_string()),
            error if error.is_unproved() => Self::Unproved(error.to_string()),
            error if error.spares_open() => Self::TurnedAway(error.to_string()),
            error if error.is_broken() => Self::Broken(error.to_string()),
            error => Self::Connection(error.to_string()),
        }
    }
}

/// Judges the answer to a linearizable Range. OK proves a quorum. So do the three permission
/// errors, InvalidArgument (3), PermissionDenied (7) and Unauthenticated (16): etcd checks
/// permissions after the quorum.
fn evaluate(answer: &Answer, ours: u64) -> Result<(), Unanswered> {
    match (answer.end_text("grpc-status"), answer.cluster_id()) {
        (Some("0"), Some(theirs)) if theirs != ours => {
            Err(Unanswered::Unproved(ProofError::Foreign { theirs, ours }.to_string()))
        }
        (Some("0" | "3" | "7" | "16"), _) => Ok(()),
        // UNAVAILABLE: "no leader", "request timed out" and the like.
        (Some("14"), _) => Err(Unanswered::NoQuorum(answer.complaint())),
        _ => Err(Unanswered::Status(answer.complaint())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{CLUSTER, Member};
    use super::*;

    #[tokio::test]
    async fn a_member_that_is_slower_to_prove_itself_than_a_probe_waits_is_proved_all_the_same() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let member = Member::start().await;
                member.be_late(Duration::from_millis(700));
                let url = "http://127.0.0.1:1";
                let (http, port) = (http::uri::Scheme::HTTP, member.at.port());
                let endpoint = Endpoint::new(url, CLUSTER, "m", 1, http, "127.0.0.1", port, 1);
                let probe_config = ProbeConfig {
                    interval: None,
                    refresh: Duration::ZERO,
                    deadline: Duration::from_millis(200),
                    timeouts: Timeouts { proof: Duration::from_secs(10), ..Timeouts::default() },
                    connector: None,
                };
                let mut prober = Prober::new(Arc::new(endpoint.unwrap()), &probe_config);
                assert!(matches!(prober.probe().await, Some(ProbeResult::Unresponsive(_))));
                let mut probes = 1;
                while prober.probe().await != Some(ProbeResult::Healthy) {
                    probes += 1;
                    assert!(probes < 50, "each probe begins the proof anew");
                }
            })
            .await;
    }
}
