//! One picture of the daemon, from which `status`, the metrics and systemd's STATUS line are all
//! made.
//!
//! Plain data with public fields; it serialises to the JSON of `/proxy/status`, which
//! docs/status-json.md describes (`"version": 1`; fields are only ever added, and a missing one
//! reads as its default, so that a client understands an older daemon). Times are milliseconds
//! since the Unix epoch.

use serde::{Deserialize, Serialize};

mod states;

pub use states::{CertificateKind, Proof, ReloadResult, ServingMode};

/// Everything that is worth showing of a running daemon.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Version of this form: 1.
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
    /// Whether a member list has been had (READY was sent).
    pub ready: bool,
    /// Whether the daemon is stopping.
    pub draining: bool,
    /// Client listeners as URLs, with real ports.
    pub listeners: Vec<String>,
    /// Metrics listeners as URLs, with real ports.
    pub metrics_listeners: Vec<String>,
    /// Threads of the data plane.
    pub workers: usize,
    /// Why requests are not served now; `None` when they are.
    pub not_serving: Option<String>,
    /// What is wrong now, worst first; empty when all is well.
    pub problems: Vec<Problem>,
    /// The members as last listed.
    pub members: Vec<MemberStatus>,
    /// Where the peers come from, when somebody has to be asked; `None` when they are written in
    /// the settings.
    pub source: Option<SourceStatus>,
    /// The peers that are asked for the list.
    pub peers: Vec<PeerStatus>,
    /// How the member list is kept fresh.
    pub refresh: RefreshStatus,
    /// The last 32 reloads, newest first.
    pub reloads: Vec<ReloadRecord>,
    /// Why the settings on disk are not those in force; `None` when they are.
    pub settings_refused: Option<ReloadRecord>,
    /// Why the files for TLS on disk are not those in force; `None` when they are.
    pub certificates_refused: Option<ReloadRecord>,
    /// When settings were last accepted (a reload that was applied or found nothing changed); 0
    /// means at the start.
    #[serde(default)]
    pub settings_accepted_ms: u64,
    /// Reloads applied since start.
    pub reloads_applied: u64,
    /// Reloads that found nothing changed since start.
    pub reloads_unchanged: u64,
    /// Reloads refused since start.
    pub reloads_refused: u64,
    /// What passes through now.
    pub traffic: TrafficStatus,
    /// The limit of memory that is nearest; `None` when there is none.
    pub memory: Option<MemoryStatus>,
    /// The certificates that clients, members and peers are shown, and the authorities and lists
    /// that they are held to.
    pub certificates: Vec<CertificateStatus>,
}

impl Snapshot {
    /// What was refused and is still on disk, the settings first. A later reload of something else
    /// does not end it.
    pub fn refusals(&self) -> impl Iterator<Item = &ReloadRecord> {
        self.settings_refused.iter().chain(&self.certificates_refused)
    }
}

/// A certificate that is shown to others, the authority of a CA file that expires first, or a
/// revocation list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStatus {
    /// `certificate`, `authority` or `revocation list`.
    pub kind: CertificateKind,
    /// Whom it is for: `listener`, `upstream` or `peer`.
    pub identity: String,
    /// Its file.
    pub file: String,
    /// What it is known by, such as `CN=infra0`.
    pub title: String,
    /// When it expires, or the first of those between it and its authority.
    pub not_after_ms: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Since when, if known.
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
    /// Its name; empty until it has started.
    pub name: String,
    /// Whether it is a learner (gets no traffic).
    pub learner: bool,
    /// Its client URLs.
    pub endpoints: Vec<EndpointStatus>,
    /// Why the member gets no traffic at all, if so (`learner`, `not started`, ...).
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
    /// Since when it is in this state.
    pub since_ms: u64,
    /// Requests and streams on it now.
    pub in_flight: u64,
    /// Failures since start.
    pub failures: u64,
}

/// A registry or a domain that names the peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// What people call it, such as `SRV records of example.com`.
    pub name: String,
    /// What it lacks or suffers, such as `2 of 3 members registered at ...`; `None` when it has
    /// named peers that answer.
    pub trouble: Option<String>,
}

/// One peer URL.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerStatus {
    /// The peer URL.
    pub url: String,
    /// The last answer's error; `None` when it was fine or it was not asked yet.
    pub error: Option<String>,
}

/// The state of the member list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RefreshStatus {
    /// When a list was last had from a peer.
    pub last_success_ms: Option<u64>,
    /// Why the last try failed; `None` when it did not.
    pub last_error: Option<String>,
    /// Good refreshes since start.
    pub succeeded: u64,
    /// Failed refreshes since start.
    pub failed: u64,
    /// Whether the peers in use come from the cluster file because no configured peer answers.
    pub from_cluster_file: bool,
}

/// What became of one reload.
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
    /// Whether the settings were refused, so that what is on disk is not what is in force.
    pub fn is_refused(&self) -> bool {
        self.result == ReloadResult::Refused
    }
}

/// A limit of memory, and what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStatus {
    /// systemd's setting for it: `LimitAS=`, `MemoryMax=`, ...
    pub limited_by: String,
    /// The limit.
    pub limit_bytes: u64,
    /// What is in use, of the address space or of the cgroup.
    pub used_bytes: u64,
    /// Since when new clients wait for it; `None` while there is enough.
    pub short_since_ms: Option<u64>,
}

/// What passes through now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficStatus {
    /// Open client connections.
    pub connections: u64,
    /// As many may be open, by the limit of open files.
    pub connections_limit: u64,
    /// HTTP requests in flight.
    pub requests_in_flight: u64,
    /// gRPC calls in flight, long streams included.
    pub rpcs_in_flight: u64,
}
