//! The resolved settings: every default filled in, every address parsed, every path absolute.
//!
//! Nothing here opens a socket or reads a file. [`crate::config::load`] makes [`Settings`] from the
//! settings file, the environment and the command line; the daemon builds a generation from them.

mod sources;
mod tls;
pub mod zone;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

pub use sources::*;
pub use tls::{
    AutoTls, CipherSuite, ConnectTls, KeyPair, ListenTls, TlsFile, TlsSettings, TlsVersion,
};

/// All settings of one generation of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `name`: the host's name, from which the data directory's default is made, and by which a
    /// registry knows a member.
    pub name: String,
    /// `proxy`: whether writes pass.
    pub mode: Mode,
    /// `listen-client-urls`: where clients are served, sorted and without duplicates.
    pub listen_client_urls: Vec<ListenUrl>,
    /// `listen-metrics-urls`: where `/metrics`, `/livez`, `/readyz` and profiles are served; may be
    /// empty.
    pub listen_metrics_urls: Vec<ListenUrl>,
    /// `advertise-client-urls`: kept for the settings that need it (member list rewriting,
    /// auto-tls).
    pub advertise_client_urls: Vec<String>,
    /// The settings of a possible member; `Some` exactly when `proxy` is "off". A daemon that
    /// serves with it does so because the cluster is full.
    pub member: Option<MemberSettings>,
    /// `rewrite-members` (ours): member lists have `advertise_client_urls`, then never empty, in
    /// place of the members' client URLs.
    pub rewrite_members: bool,
    /// `data-dir`: absolute; the cluster file is `<data-dir>/proxy/cluster`. Needs a restart to
    /// change.
    pub data_dir: PathBuf,
    /// `admin-socket` (ours): the unix socket that `status` and `reload` connect to.
    pub admin_socket: PathBuf,
    /// Where the peers come from.
    pub peers: PeerSource,
    /// `accept-cluster-id` (ours): a cluster ID that is accepted in place of the pinned one.
    pub accept_cluster_id: Option<u64>,
    /// `proxy-refresh-interval`: time between two refreshes of the member list; never zero.
    pub refresh_interval: Duration,
    /// `proxy-failure-wait`: how long a failed endpoint is avoided; zero means not at all.
    pub failure_wait: Duration,
    /// `proxy-dial-timeout`: limit for connecting to a member or peer; `None` (written 0) means
    /// none.
    pub dial_timeout: Option<Duration>,
    /// `proxy-write-timeout`: limit for one write to a member to make progress; `None` (0) means
    /// none.
    pub write_timeout: Option<Duration>,
    /// `proxy-read-timeout`: limit for one read from a member to bring bytes; `None` (0) means
    /// none.
    pub read_timeout: Option<Duration>,
    /// `balance` (ours): how a member is chosen.
    pub balance: Balance,
    /// `health-interval` (ours): time between probes of an endpoint; `None` (0) means no probes.
    pub health_interval: Option<Duration>,
    /// `health-timeout` (ours): deadline of one probe; never zero.
    pub health_timeout: Duration,
    /// `require-cluster-proof` (ours): whether an address whose answers name no cluster gets no
    /// requests.
    pub require_cluster_proof: bool,
    /// `drain-timeout` (ours): how long open requests may go on after a stop; zero means not at
    /// all.
    pub drain_timeout: Duration,
    /// `workers` (ours): data-plane threads; written 0 means one per core, at most 4. Needs a
    /// restart to change.
    pub workers: NonZeroUsize,
    /// `cors`: allowed origins; `["*"]` (the default) leaves the headers to the members.
    pub cors: Vec<String>,
    /// `host-whitelist`: host names accepted in plaintext HTTP; `["*"]` (the default) or empty
    /// accepts all.
    pub host_whitelist: Vec<String>,
    /// `enable-pprof`: serve `/debug/pprof/profile` on the metrics listeners.
    pub enable_pprof: bool,
    /// Everything about TLS.
    pub tls: TlsSettings,
    /// Everything about logs.
    pub log: LogSettings,
}

/// Whether writes pass (`proxy = "on"`) or are refused (`proxy = "readonly"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `on`: reads and writes pass.
    Readwrite,
    /// `readonly`: only requests known to be reads pass.
    Readonly,
}

impl Mode {
    /// Returns `readwrite` or `readonly`, as in the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Readwrite => "readwrite",
            Self::Readonly => "readonly",
        }
    }
}

/// One URL to listen on: an address, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenUrl {
    /// The address.
    pub at: ListenAddress,
    /// Whether the scheme is `https` or `unixs`.
    pub tls: bool,
}

/// The schemes of one address, over all URLs with that address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenScheme {
    /// Cleartext.
    Plain,
    /// TLS.
    Tls,
    /// Both; the first byte of a connection tells which.
    Both,
}

impl ListenScheme {
    /// Returns the schemes of these URLs on an address; `None` if no URL has it.
    pub fn of(urls: &[ListenUrl], at: &ListenAddress) -> Option<Self> {
        let mut here = urls.iter().filter(|url| url.at == *at).map(|url| url.tls);
        let first = here.next()?;
        Some(match (first, here.any(|tls| tls != first)) {
            (_, true) => Self::Both,
            (true, false) => Self::Tls,
            (false, false) => Self::Plain,
        })
    }

    /// Returns the URLs of these schemes on an address.
    pub fn urls(self, at: &ListenAddress) -> Vec<ListenUrl> {
        let schemes: &[bool] = match self {
            Self::Plain => &[false],
            Self::Tls => &[true],
            Self::Both => &[false, true],
        };
        schemes.iter().map(|tls| ListenUrl { at: at.clone(), tls: *tls }).collect()
    }
}

/// The settings of a host that may become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSettings {
    /// `member-binary` (ours): etcd, as a path or as a name to be found in `PATH`.
    pub binary: PathBuf,
    /// `initial-advertise-peer-urls`: the registry knows this host by these and by `name`.
    pub peer_urls: Vec<String>,
    /// Whether `discovery-fallback` is "exit": if the cluster is full, the program exits and does
    /// not serve as a proxy.
    pub exits_when_full: bool,
}

/// A setting that only etcd has, passed on to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSetting {
    /// Its name, without dashes before it.
    pub name: String,
    /// Its value as text.
    pub value: String,
    /// Whether it is a flag; otherwise it is from the file or a variable.
    pub is_flag: bool,
}

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// `IP:PORT`; `localhost` was resolved to 127.0.0.1.
    Tcp(SocketAddr),
    /// A path (also etcd's `unix://HOST:PORT`, a file of that name in the working directory).
    Unix(PathBuf),
}

impl ListenUrl {
    /// Returns the cleartext URL of a TCP address.
    pub fn tcp(address: SocketAddr) -> Self {
        Self { at: ListenAddress::Tcp(address), tls: false }
    }

    /// Returns the cleartext URL of a unix socket.
    pub fn unix(path: PathBuf) -> Self {
        Self { at: ListenAddress::Unix(path), tls: false }
    }

    /// Returns the TCP address, if it has one.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self.at {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) => None,
        }
    }

    /// Returns the URL of the same address with TLS.
    #[must_use]
    pub fn with_tls(self) -> Self {
        Self { tls: true, ..self }
    }
}

/// The source of the cluster's peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerSource {
    /// `initial-cluster`, or etcd's default pair: peer URLs in the order given, such as
    /// `http://10.0.1.10:2380`.
    Static(Vec<PeerUrl>),
    /// `discovery` or `discovery-token`: the peers in a registry.
    Discovery(Discovery),
    /// `discovery-srv`: the peers in SRV records.
    Srv(SrvDomain),
}

/// A URL of a peer port: scheme, host and port, without a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerUrl {
    /// Whether the scheme is `https`: the peer port speaks TLS.
    pub tls: bool,
    /// Host name or IP literal, in lower case (an IPv6 literal without its brackets, perhaps with a
    /// zone: `fe80::1%eth0`).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// How a member is chosen for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// A client connection keeps its member while the member is healthy and listed.
    Sticky,
    /// Each request goes to the less loaded of two random healthy members.
    P2c,
}

/// The settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `log-level`, or debug when `debug` is set.
    pub level: LogLevel,
    /// `log-package-levels`: levels of single modules, which override `level`.
    pub package_levels: Vec<(String, LogLevel)>,
    /// `log-format` (ours).
    pub format: LogFormat,
    /// `log-outputs`.
    pub outputs: Vec<LogOutput>,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Problems that need a person (also etcd's `panic`, `fatal` and `dpanic`).
    Error,
    /// Problems that the daemon handles by itself.
    Warn,
    /// Changes of state.
    Info,
    /// Single connections and refreshes as well.
    Debug,
}

impl LogLevel {
    /// Returns the level of a name. The names of both of etcd's loggers are accepted, in capitals
    /// too.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "debug" | "trace" => Some(Self::Debug),
            "info" | "notice" => Some(Self::Info),
            "warn" | "warning" => Some(Self::Warn),
            "error" | "dpanic" | "panic" | "fatal" | "critical" => Some(Self::Error),
            _ => None,
        }
    }
}

impl std::fmt::Display for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Journald fields when stderr is the journal, else text.
    Auto,
    /// One line of text for people.
    Text,
    /// One JSON object a line.
    Json,
    /// Structured journald entries, whatever stderr is.
    Journald,
}

/// A place that log lines go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// `default` or `stderr`.
    Stderr,
    /// `stdout`.
    Stdout,
    /// A file, opened for appending.
    File(PathBuf),
}

impl std::fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", zone::in_url(&self.host), self.port)
    }
}

impl std::fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.at, self.tls) {
            // `Display` of an address with a zone writes a bare `%`, which a URL may not have.
            (ListenAddress::Tcp(addr), false) => {
                write!(f, "http://{}", addr.to_string().replace('%', "%25"))
            }
            (ListenAddress::Tcp(addr), true) => {
                write!(f, "https://{}", addr.to_string().replace('%', "%25"))
            }
            (ListenAddress::Unix(path), false) => write!(f, "unix://{}", path.display()),
            (ListenAddress::Unix(path), true) => write!(f, "unixs://{}", path.display()),
        }
    }
}
