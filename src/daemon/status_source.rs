//! The source of snapshots: one place that knows everything worth showing, which any thread of the
//! control plane may ask.
//!
//! The control loop publishes what changes rarely; health and traffic are read from their atomics
//! for each snapshot. Status, metrics and the STATUS line are all made from
//! [`StatusSource::snapshot`], so they cannot disagree.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::cluster::eligibility::{EvaluatedMember, EvaluatedMembers, EvaluatedUrl};
use crate::cluster::member::hex_id;
use crate::config::masked;
use crate::net::conn_limit::ConnLimit;
use crate::net::lookup::{self, Failing};
use crate::telemetry::counters::{self, WorkerCounters};
use crate::telemetry::snapshot::{
    CertificateKind, CertificateStatus, EndpointStatus, EvidenceKind, MemberStatus, MemoryStatus,
    Problem, Proof, ReloadRecord, Snapshot, TrafficStatus,
};
use crate::tls::expiry::{Expiring, Kind};
use crate::upstream::endpoint::{Endpoint, State};
use crate::upstream::evidence::Evidence;

/// Unhealthy client URLs that get a problem of their own; the others are counted.
const MOST_AILING: usize = 20;

/// The state that the control loop publishes: everything but health, traffic and problems.
#[derive(Debug, Clone, Default)]
pub struct ControlState {
    /// The snapshot without members, problems and traffic.
    pub base: Snapshot,
    /// The members as last evaluated.
    pub listed: Arc<EvaluatedMembers>,
    /// The endpoints in force.
    pub endpoints: Arc<[Arc<Endpoint>]>,
    /// Problems found by the member list's tracker.
    pub list_problems: Vec<Problem>,
    /// Everything that can expire: certificates, authorities and revocation lists.
    pub certificates: Vec<Expiring>,
}

/// The published state, and the counters that are read for each snapshot.
#[derive(Debug)]
pub struct StatusSource {
    published: ArcSwap<ControlState>,
    memory: ArcSwapOption<MemoryStatus>,
    counters: Vec<Arc<WorkerCounters>>,
    conn_limit: ConnLimit,
}

impl StatusSource {
    /// Makes an empty status source over the workers' counters and their limit on connections.
    pub fn new(counters: Vec<Arc<WorkerCounters>>, conn_limit: ConnLimit) -> Self {
        Self { published: ArcSwap::default(), memory: ArcSwapOption::empty(), counters, conn_limit }
    }

    /// Replaces the published state.
    pub fn publish(&self, published: ControlState) {
        self.published.store(Arc::new(published));
    }

    /// Replaces the memory status; `None` when there is no limit.
    pub fn set_memory(&self, memory: Option<MemoryStatus>) {
        self.memory.store(memory.map(Arc::new));
    }

    /// Returns the workers' counters.
    pub fn counters(&self) -> &[Arc<WorkerCounters>] {
        &self.counters
    }

    /// Returns the endpoints in force.
    pub fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        self.published.load().endpoints.clone()
    }

    /// Makes a snapshot of the current state.
    pub fn snapshot(&self) -> Snapshot {
        let published = self.published.load();
        let mut snapshot = published.base.clone();
        let endpoints: InForce<'_> =
            published.endpoints.iter().map(|it| ((it.member_id, &*it.url), &**it)).collect();
        snapshot.members = published
            .listed
            .members
            .iter()
            .map(|member| member_status(member, &endpoints))
            .collect();
        snapshot.traffic = counters::traffic(&self.counters);
        snapshot.traffic.connections_limit = self.conn_limit.limit().try_into().unwrap_or(u64::MAX);
        snapshot.not_serving = not_serving(&published);
        snapshot.certificates = published.certificates.iter().map(certificate_status).collect();
        snapshot.memory = self.memory.load().as_deref().cloned();
        snapshot.problems = problems(&published, &snapshot);
        if self.conn_limit.waits() {
            snapshot.problems.insert(0, clients_wait(&snapshot.traffic));
        }
        mask(&mut snapshot);
        snapshot
    }
}

/// Masks what looks like a secret in every text that others can influence.
fn mask(snapshot: &mut Snapshot) {
    let endpoints = snapshot.members.iter_mut().flat_map(|member| &mut member.endpoints);
    let peers = &mut snapshot.peers;
    let texts = endpoints
        .flat_map(|it| std::iter::once(&mut it.url).chain(&mut it.reason))
        .chain(peers.iter_mut().flat_map(|it| std::iter::once(&mut it.url).chain(&mut it.error)))
        .chain(snapshot.problems.iter_mut().map(|it| &mut it.text))
        .chain(
            snapshot
                .source
                .iter_mut()
                .flat_map(|it| std::iter::once(&mut it.name).chain(&mut it.trouble)),
        )
        .chain(&mut snapshot.refresh.last_error)
        .chain(snapshot.certificates.iter_mut().flat_map(|it| [&mut it.file, &mut it.title]));
    for text in texts {
        if let Cow::Owned(masked) = masked(text) {
            *text = masked;
        }
    }
}

fn certificate_status(shown: &Expiring) -> CertificateStatus {
    let until = shown.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
    let kind = match shown.kind {
        Kind::Certificate => CertificateKind::Certificate,
        Kind::Authority => CertificateKind::Authority,
        Kind::List => CertificateKind::RevocationList,
    };
    CertificateStatus {
        kind,
        identity: shown.identity.to_owned(),
        file: shown.file.display().to_string(),
        title: shown.title.clone(),
        not_after_ms: u64::try_from(until.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Endpoints by member ID and URL.
type InForce<'a> = HashMap<(u64, &'a str), &'a Endpoint>;

fn member_status(member: &EvaluatedMember, endpoints: &InForce<'_>) -> MemberStatus {
    let of_member =
        |url: &EvaluatedUrl| endpoint_status(url, endpoints.get(&(member.id, &*url.url)).copied());
    MemberStatus {
        id: hex_id(member.id),
        name: member.name.clone(),
        learner: member.learner,
        endpoints: member.urls.iter().map(of_member).collect(),
        left_out: member.left_out.clone(),
    }
}

fn endpoint_status(url: &EvaluatedUrl, endpoint: Option<&Endpoint>) -> EndpointStatus {
    let Some(endpoint) = endpoint else {
        return EndpointStatus {
            url: url.url.clone(),
            reason: url.left_out.clone(),
            ..EndpointStatus::default()
        };
    };
    let state = endpoint.state();
    let (evidence, evidence_ms) = evidence(endpoint);
    EndpointStatus {
        url: url.url.clone(),
        usable: true,
        healthy: endpoint.is_healthy(),
        reason: state.reason,
        proof: proof(endpoint),
        since_ms: state.since_ms,
        evidence,
        evidence_ms,
        in_flight: endpoint.activity.open(),
        failures: endpoint.failures(),
    }
}

fn evidence(endpoint: &Endpoint) -> (EvidenceKind, u64) {
    match endpoint.evidence.get() {
        None => (EvidenceKind::Unknown, 0),
        Some((Evidence::Answered, at_ms)) => (EvidenceKind::Answered, at_ms),
        Some((Evidence::Probed, at_ms)) => (EvidenceKind::Probed, at_ms),
        Some((Evidence::Checked, at_ms)) => (EvidenceKind::Checked, at_ms),
    }
}

fn proof(endpoint: &Endpoint) -> Proof {
    match endpoint {
        endpoint if endpoint.is_unproved() => Proof::Failed,
        endpoint if endpoint.is_assumed() => Proof::None,
        endpoint if endpoint.is_trusted() => Proof::Proved,
        _ => Proof::NotYet,
    }
}

/// Returns why no request can be served. While all endpoints are unhealthy they are still tried,
/// but that does not count as serving.
fn not_serving(published: &ControlState) -> Option<String> {
    let ControlState { base, endpoints, .. } = published;
    if base.draining {
        return Some("stopping".to_owned());
    }
    if !base.ready {
        return Some("waiting for members".to_owned());
    }
    if endpoints.iter().any(|endpoint| endpoint.is_healthy()) {
        return None;
    }
    let members: BTreeSet<u64> = endpoints.iter().map(|endpoint| endpoint.member_id).collect();
    Some(match members.len() {
        0 => "not serving: no member can be asked".to_owned(),
        all => format!("not serving: 0 of {all} members healthy"),
    })
}

fn clients_wait(traffic: &TrafficStatus) -> Problem {
    let TrafficStatus { connections, connections_limit, .. } = traffic;
    let text = format!(
        "new clients wait to be accepted: {connections} are connected, and the limit of open files has room for \
         {connections_limit}; raise LimitNOFILE= if this many clients are expected"
    );
    Problem { since_ms: None, text }
}

/// Returns the current problems, worst first.
fn problems(published: &ControlState, snapshot: &Snapshot) -> Vec<Problem> {
    let mut problems = Vec::new();
    let usable = |member: &EvaluatedMember| member.usable_urls().next().is_some();
    let is_listed = snapshot.ready || !published.listed.members.is_empty();
    if is_listed && !published.listed.members.iter().any(usable) {
        let text = "the member list names no client URL that can be used; see the members below"
            .to_owned();
        problems.push(Problem { since_ms: None, text });
    }
    problems.extend(snapshot.memory.as_ref().and_then(memory_problem));
    problems.extend(snapshot.refusals().map(|refused| refusal(refused, snapshot.generation)));
    problems.extend(published.list_problems.iter().cloned());
    let now = SystemTime::now();
    let expiring = published.certificates.iter().filter_map(|shown| shown.warning(now));
    for text in expiring {
        if !problems.iter().any(|known: &Problem| known.text == text) {
            problems.push(Problem { since_ms: None, text });
        }
    }
    problems.extend(lookup::failing().iter().map(unresolved));
    problems.extend(hindrances(&published.endpoints));
    let mut ailing = published.endpoints.iter().filter(|endpoint| !endpoint.is_healthy());
    for endpoint in ailing.by_ref().take(MOST_AILING) {
        let state = endpoint.state();
        let reason = state.reason.unwrap_or_else(|| "unhealthy".into());
        let text = format!("member {} at {}: {reason}", endpoint.member, endpoint.url);
        problems.push(Problem { since_ms: Some(state.since_ms), text });
    }
    let more = ailing.count();
    if more > 0 {
        let text = format!("{more} more client URLs are unhealthy; see the members below");
        problems.push(Problem { since_ms: None, text });
    }
    problems
}

/// Returns what keeps this host from probing members, as one problem: it is usually the same for
/// all.
fn hindrances(endpoints: &[Arc<Endpoint>]) -> Option<Problem> {
    let mut hindered = endpoints.iter().filter_map(|it| Some((it, it.hindrance()?)));
    let (endpoint, State { reason, since_ms }) = hindered.next()?;
    let reason = reason.unwrap_or_default();
    let others = match hindered.count() {
        0 => String::new(),
        1 => ", nor can another".to_owned(),
        others => format!(", nor can {others} others"),
    };
    let text = format!("{} cannot be probed: {reason}{others}", endpoint.url);
    Some(Problem { since_ms: Some(since_ms), text })
}

/// Makes a problem of a name whose lookup fails, whether this host or the name server is to blame.
fn unresolved(failing: &Failing) -> Problem {
    let Failing { host, since, error, is_known } = failing;
    let use_of_old = if *is_known { ", using the addresses it had last" } else { "" };
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    Problem {
        since_ms: u64::try_from(since.as_millis()).ok(),
        text: format!("{}: {error}{use_of_old}", host.escape_debug()),
    }
}

fn memory_problem(memory: &MemoryStatus) -> Option<Problem> {
    let MemoryStatus { limited_by, limit_bytes, used_bytes, short_since_ms } = memory;
    let (used, limit) = (used_bytes >> 20, limit_bytes >> 20);
    let text = format!(
        "memory is short ({used} of {limit} MiB): new clients wait and idle connections are closed; raise {limited_by} if \
         this many clients are expected"
    );
    short_since_ms.map(|since| Problem { since_ms: Some(since), text })
}

fn refusal(record: &ReloadRecord, generation: u64) -> Problem {
    let reasons = record.messages.join("; ");
    let text = format!("settings refused, serving generation {generation}: {reasons}");
    Problem { since_ms: Some(record.at_ms), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(id: u64) -> Arc<Endpoint> {
        let url = format!("http://10.0.0.{id}:2379");
        let scheme = http::uri::Scheme::HTTP;
        Arc::new(Endpoint::new(&url, 1, "m", id, scheme, "10.0.0.1", 2379, 1).unwrap())
    }

    #[test]
    fn trouble_of_this_host_is_one_problem_however_many_members_it_hides() {
        let endpoints = [1, 2, 3].map(endpoint);
        assert_eq!(hindrances(&endpoints), None);
        let say = |it: &Arc<Endpoint>| it.set_hindrance(Some("too many open files (on this host)"));
        say(&endpoints[1]);
        let told = |endpoints: &[Arc<Endpoint>]| hindrances(endpoints).unwrap().text;
        let said = "http://10.0.0.2:2379 cannot be probed: too many open files (on this host)";
        assert_eq!(told(&endpoints), said);
        say(&endpoints[2]);
        assert_eq!(told(&endpoints), format!("{said}, nor can another"));
    }

    #[test]
    fn a_long_list_is_told_in_few_problems_and_whole_below() {
        let endpoints: Vec<_> = (1..=200).map(endpoint).collect();
        let wait = std::time::Duration::from_secs(60);
        assert!(endpoints.iter().all(|it| it.mark_failed("connection refused", wait)));
        let member = |it: &Arc<Endpoint>| EvaluatedMember {
            id: it.member_id,
            name: "m".into(),
            learner: false,
            left_out: None,
            urls: vec![EvaluatedUrl {
                url: it.url.clone(),
                tls: false,
                host: it.host.clone(),
                port: it.port,
                left_out: None,
            }],
        };
        let listed = EvaluatedMembers { members: endpoints.iter().map(member).collect() };
        let status_source = StatusSource::new(Vec::new(), ConnLimit::default());
        status_source.publish(ControlState {
            listed: Arc::new(listed),
            endpoints: endpoints.into(),
            ..ControlState::default()
        });
        let snapshot = status_source.snapshot();
        let told = snapshot.problems.iter().filter(|it| it.text.contains("connection refused"));
        assert_eq!(told.count(), MOST_AILING);
        let more = "180 more client URLs are unhealthy; see the members below";
        assert_eq!(snapshot.problems.last().map(|it| it.text.as_str()), Some(more));
        let shown = snapshot.members.iter().flat_map(|member| &member.endpoints);
        assert!(shown.clone().count() == 200 && shown.clone().all(|it| it.usable && !it.healthy));
    }

    #[test]
    fn a_url_that_cannot_be_used_is_not_said_to_be_so_since_now() {
        let left_out = Some("not http".to_owned());
        let url = "ftp://h".to_owned();
        let url = EvaluatedUrl { url, tls: false, host: String::new(), port: 0, left_out };
        let status = endpoint_status(&url, None);
        assert_eq!((status.since_ms, status.reason.as_deref()), (0, Some("not http")));
    }
}
