//! A snapshot of the daemon's state, from which `status`, the metrics and systemd's STATUS line are
//! all rendered.
//!
//! Plain data with public fields; it serialises to the JSON of `/proxy/status`, which
//! docs/status-json.md describes (`"version": 1`; fields are only ever added, and a missing one
//! reads as its default, so that a client understands an older daemon). Times are milliseconds
//! since the Unix epoch.

use serde::{Deserialize, Serialize};

mod states;

pub use states::{CertificateKind, EvidenceKind, Proof, ReloadResult, ServingMode};

/// The state of a running daemon.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Version of this format: 1.
    pub version: u32,
    /// The daemon's own version.
    pub daemon_version: String,
    /// Process ID.
    pub pid: u32,
    /// When the process started.
    pub started_ms: u64,
    /// `readwrite` or `readonly`.
    pub mode: ServingMode,
    /// Number of the generation in force; the first is 1.
    pub generation: u64,
    /// The pinned cluster ID in lowercase hex, once known.
    pub cluster_id: Option<String>,
    /// Whether a member list has been fetched (READY was sent).
    pub ready: bool,
    /// Whether the daemon is stopping.
    pub draining: bool,
    /// Client listeners as URLs, with real ports.
    pub listeners: Vec<String>,
    /// Metrics listeners as URLs, with real ports.
    pub metrics_listeners: Vec<String>,
    /// Number of worker threads.
    pub workers: usize,
    /// Why requests are not served now; `None` if they are.
    pub not_serving: Option<String>,
    /// Current problems, worst first.
    pub problems: Vec<Problem>,
    /// The members of the last member list.
    pub members: Vec<MemberStatus>,
    /// The source that names the peers; `None` if the settings list them.
    pub source: Option<SourceStatus>,
    /// The peers that are asked for the member list.
    pub peers: Vec<PeerStatus>,
    /// The state of the member list.
    pub refresh: RefreshStatus,
    /// The last 32 reloads, newest first.
    pub reloads: Vec<ReloadRecord>,
    /// The reload that refused the settings now on disk; `None` if they are in force.
    pub settings_refused: Option<ReloadRecord>,
    /// The reload that refused the TLS files now on disk; `None` if they are in force.
    pub certificates_refused: Option<ReloadRecord>,
    /// When settings were last accepted: by a reload that was applied or found nothing changed,
    /// else at the start. 0 also means at the start.
    #[serde(default)]
    pub settings_accepted_ms: u64,
    /// Reloads applied since start.
    pub reloads_applied: u64,
    /// Reloads that found nothing changed since start.
    pub reloads_unchanged: u64,
    /// Reloads refused since start.
    pub reloads_refused: u64,
    /// The current traffic, over all workers.
    pub traffic: TrafficStatus,
    /// The memory limit that has the least memory left; `None` if there is no limit.
    pub memory: Option<MemoryStatus>,
    /// Our own certificates, and the authorities and revocation lists that verify the others'.
    pub certificates: Vec<CertificateStatus>,
}

impl Snapshot {
    /// Returns the refused reloads whose files are still on disk, the settings first. A later
    /// reload of other files does not end a refusal.
    pub fn refusals(&self) -> impl Iterator<Item = &ReloadRecord> {
        self.settings_refused.iter().chain(&self.certificates_refused)
    }
}

/// A certificate of our own, the authority of a CA file that expires first, or a revocation list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStatus {
    /// `certificate`, `authority` or `revocation list`.
    pub kind: CertificateKind,
    /// The identity that uses it: `listener`, `upstream`, `peer` or `registry`.
    pub identity: String,
    /// Path of its file.
    pub file: String,
    /// Its subject or issuer for people, such as `CN=infra0`.
    pub title: String,
    /// When it expires, or an intermediate of its chain that expires sooner.
    pub not_after_ms: u64,
}

/// One current problem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// When it began, if known.
    pub since_ms: Option<u64>,
    /// What is wrong and what to do, in one line.
    pub text: String,
}

/// One member of the cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberStatus {
    /// Member ID in lowercase hex.
    pub id: String,
    /// Member name; empty until the member has started.
    pub name: String,
    /// Whether it is a learner. Learners get no traffic.
    pub learner: bool,
    /// Its endpoints, one for each client URL.
    pub endpoints: Vec<EndpointStatus>,
    /// Why the member gets no traffic at all (`learner`, `not started`, ...); `None` if it may get
    /// some.
    pub left_out: Option<String>,
}

/// One client URL of a member.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointStatus {
    /// The client URL as advertised.
    pub url: String,
    /// Whether it may get traffic (false for unusable schemes and for our own listeners).
    pub usable: bool,
    /// Whether it is healthy now.
    pub healthy: bool,
    /// Why it is unhealthy or unusable.
    pub reason: Option<String>,
    /// Whether it has proved that it belongs to the cluster: `proved`, `failed` (it gets no
    /// requests), `not yet`, or `none` (no proof can be had, and `require-cluster-proof = false`
    /// lets requests go there).
    pub proof: Proof,
    /// When its state last changed.
    pub since_ms: u64,
    /// What last showed that it lives: `answered` (a request), `probed` (through a quorum) or
    /// `checked` (by itself); empty before the first.
    pub evidence: EvidenceKind,
    /// When that was; 0 before the first.
    pub evidence_ms: u64,
    /// Requests and streams in flight.
    pub in_flight: u64,
    /// Failures since start.
    pub failures: u64,
}

/// A discovery service or a DNS domain that names the peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// Its name for people, such as `SRV records of example.com`.
    pub name: String,
    /// Why it does not name peers yet, such as `2 of 3 members registered at ...`; `None` once it
    /// has named peers that answer.
    pub trouble: Option<String>,
}

/// One peer URL.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerStatus {
    /// The peer URL.
    pub url: String,
    /// The error of its last answer; `None` if there was none or it was not asked yet.
    pub error: Option<String>,
}

/// The state of the member list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RefreshStatus {
    /// When a list was last fetched from a peer.
    pub last_success_ms: Option<u64>,
    /// Why the last refresh failed; `None` if it succeeded.
    pub last_error: Option<String>,
    /// Successful refreshes since start.
    pub succeeded: u64,
    /// Failed refreshes since start.
    pub failed: u64,
    /// Whether the peers in use come from the cluster file because no configured peer answers.
    pub from_cluster_file: bool,
}

/// One reload and its result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadRecord {
    /// When it ended.
    pub at_ms: u64,
    /// `file`, `signal`, `command` or `certificates`.
    pub trigger: String,
    /// `applied`, `unchanged` or `refused`.
    pub result: ReloadResult,
    /// The generation in force afterwards.
    pub generation: u64,
    /// What changed, as `key: old -> new`; empty unless applied.
    pub changes: Vec<String>,
    /// Warnings, or the reasons for the refusal, each as one line (`PLACE: MESSAGE`).
    pub messages: Vec<String>,
}

impl ReloadRecord {
    /// Tells whether the reload was refused, so that the files on disk are not in force.
    pub fn is_refused(&self) -> bool {
        self.result == ReloadResult::Refused
    }
}

/// A memory limit and its usage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStatus {
    /// The systemd setting for it: `LimitAS=`, `MemoryMax=`, ...
    pub limited_by: String,
    /// The limit.
    pub limit_bytes: u64,
    /// Address space in use, or memory in use by the cgroup.
    pub used_bytes: u64,
    /// Since when new clients have to wait for memory; `None` while there is enough.
    pub short_since_ms: Option<u64>,
}

/// The current traffic.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficStatus {
    /// Open client connections.
    pub connections: u64,
    /// Client connections that may be open, by the limit of open files.
    pub connections_limit: u64,
    /// HTTP requests in flight.
    pub requests_in_flight: u64,
    /// gRPC calls in flight, long streams included.
    pub rpcs_in_flight: u64,
}
