//! From effective values to [`Settings`]: what several settings mean together.
//!
//! Every value has been checked on its own before. Here defaults that depend on other settings are
//! filled in, and what cannot work, or not together, is refused.

mod listening;
mod sources;
mod tls;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::inputs::Inputs;
use super::location::Location;
use super::origins::Origins;
use super::problem::{Problem, Problems};
use super::settings::{
    Balance, ListenUrl, LogFormat, LogLevel, LogOutput, LogSettings, MemberSettings, Mode, PeerUrl,
    Settings,
};
use super::value::{self, Value};

/// Returns the settings; they are only worth using when `problems` got no error.
pub(super) fn resolve(origins: &Origins, inputs: &Inputs, problems: &mut Problems) -> Settings {
    let values = Values(origins);
    check(&values, problems);
    Settings {
        name: values.text("name"),
        mode: if values.text("proxy") == "readonly" { Mode::Readonly } else { Mode::Readwrite },
        listen_client_urls: values.client_urls(),
        listen_metrics_urls: values.listen("listen-metrics-urls"),
        advertise_client_urls: values.list("advertise-client-urls"),
        rewrite_members: values.bool("rewrite-members"),
        member: (values.text("proxy") == "off").then(|| MemberSettings {
            binary: values.text("member-binary").into(),
            peer_urls: values.list("initial-advertise-peer-urls"),
            exits_when_full: values.text("discovery-fallback") == "exit",
        }),
        data_dir: data_dir(origins, inputs),
        admin_socket: admin_socket(origins, inputs),
        peers: sources::peer_source(&values, problems),
        accept_cluster_id: values.id("accept-cluster-id"),
        refresh_interval: values.time("proxy-refresh-interval"),
        failure_wait: values.time("proxy-failure-wait"),
        dial_timeout: values.limit("proxy-dial-timeout"),
        write_timeout: values.limit("proxy-write-timeout"),
        read_timeout: values.limit("proxy-read-timeout"),
        balance: if values.text("balance") == "p2c" { Balance::P2c } else { Balance::Sticky },
        health_interval: values.limit("health-interval"),
        health_timeout: values.time("health-timeout"),
        require_cluster_proof: values.bool("require-cluster-proof"),
        drain_timeout: values.time("drain-timeout"),
        workers: values.workers(),
        cors: values.list("cors"),
        host_whitelist: values.list("host-whitelist"),
        enable_pprof: values.bool("enable-pprof"),
        tls: tls::resolve(&values, &data_dir(origins, inputs)),
        log: values.log(&inputs.cwd),
    }
}

/// Returns the admin socket's path: as set, else in `$RUNTIME_DIRECTORY`, else in
/// `/run/etcd-proxy`.
pub(super) fn admin_socket(origins: &Origins, inputs: &Inputs) -> PathBuf {
    Values(origins).path("admin-socket").unwrap_or_else(|| usual_admin_socket(inputs))
}

/// Returns it for when it is not set.
pub(super) fn usual_admin_socket(inputs: &Inputs) -> PathBuf {
    let runtime = inputs.directory("RUNTIME_DIRECTORY");
    runtime.unwrap_or_else(|| PathBuf::from("/run/etcd-proxy")).join("admin.sock")
}

/// Returns the data directory: as set, else `$STATE_DIRECTORY`, else `<name>.etcd` in the working
/// directory.
fn data_dir(origins: &Origins, inputs: &Inputs) -> PathBuf {
    let values = Values(origins);
    let set = values.path("data-dir").or_else(|| inputs.directory("STATE_DIRECTORY"));
    set.unwrap_or_else(|| inputs.cwd.join(format!("{}.etcd", values.text("name"))))
}

/// Names systemd's variables as the origin of the directories that come from them.
pub(super) fn blame_directories(origins: &mut Origins, inputs: &Inputs) {
    let from = [("data-dir", "STATE_DIRECTORY"), ("admin-socket", "RUNTIME_DIRECTORY")];
    for (name, variable) in from {
        if Values(origins).path(name).is_none() && inputs.directory(variable).is_some() {
            origins.blame(name, Location::Variable(variable.to_owned()));
        }
    }
}

/// Refuses what cannot work, and warns of what is ignored. What has a mistake of its own is not
/// judged by what it means beside others.
fn check(values: &Values<'_>, problems: &mut Problems) {
    let origins = values.0;
    let registries = ["discovery", "discovery-token"];
    let registry_known = !registries.iter().all(|name| values.text(name).is_empty());
    if values.text("proxy") == "off" && !registry_known && origins.are_sound(&registries) {
        let message = "`proxy` is \"off\", which means being a member of the cluster if there is room, and no registry tells";
        let hint = "want `discovery` or `discovery-token`, or \"on\" or \"readonly\"";
        refuse(problems, message, hint, origins.location("proxy"));
    }
    if values.text("member-binary").is_empty() {
        let hint = "want the path of etcd, or its name in PATH";
        refuse(problems, "`member-binary` is empty", hint, origins.location("member-binary"));
    }
    if values.listen("listen-client-urls").is_empty() {
        let location = origins.location("listen-client-urls");
        refuse(problems, "`listen-client-urls` is empty", "want at least one URL", location);
    }
    if values.text("name").is_empty() || values.text("name").contains('/') {
        let message = format!("`name` is {}", value::quoted(&values.text("name")));
        refuse(problems, &message, "want a word without slashes", origins.location("name"));
    }
    let advertised = ["advertise-client-urls"];
    if values.bool("rewrite-members")
        && values.list(advertised[0]).is_empty()
        && origins.are_sound(&advertised)
    {
        let message = "`rewrite-members` is set, and `advertise-client-urls` is not";
        let hint = "want the URLs by which clients reach this proxy in `advertise-client-urls`";
        refuse(problems, message, hint, origins.location("rewrite-members"));
    }
    listening::check(values, problems);
    tls::check(values, problems);
}

fn refuse(problems: &mut Problems, message: &str, hint: &str, location: &Location) {
    problems.push(Problem::error(message, location.clone()).hint(hint));
}

/// The effective values by type. A name of another type reads as empty; a test asks for each
/// default.
struct Values<'a>(&'a Origins);

impl Values<'_> {
    fn text(&self, name: &str) -> String {
        match self.0.value(name) {
            Some(Value::Text(text) | Value::Login(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn bool(&self, name: &str) -> bool {
        matches!(self.0.value(name), Some(Value::Bool(true)))
    }

    fn time(&self, name: &str) -> Duration {
        match self.0.value(name) {
            Some(Value::Time(time)) => *time,
            _ => Duration::ZERO,
        }
    }

    /// Returns a time whose zero means that there is no limit.
    fn limit(&self, name: &str) -> Option<Duration> {
        Some(self.time(name)).filter(|time| !time.is_zero())
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.0.value(name) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        match self.0.value(name) {
            Some(Value::Path(path)) if path != Path::new("") => Some(path.clone()),
            _ => None,
        }
    }

    fn id(&self, name: &str) -> Option<u64> {
        match self.0.value(name) {
            Some(Value::Id(id)) => *id,
            _ => None,
        }
    }

    fn listen(&self, name: &str) -> Vec<ListenUrl> {
        match self.0.value(name) {
            Some(Value::Listen(urls)) => urls.clone(),
            _ => Vec::new(),
        }
    }

    fn client_urls(&self) -> Vec<ListenUrl> {
        let mut urls = self.listen("listen-client-urls");
        urls.extend(self.listen("listen-client-http-urls"));
        urls.sort();
        urls.dedup();
        urls
    }

    /// Returns the peers; an empty list means etcd's default pair, as if it had not been set.
    fn peers(&self) -> Vec<PeerUrl> {
        match self.0.value("initial-cluster") {
            Some(Value::Peers(peers)) if !peers.is_empty() => peers.clone(),
            _ => [2380, 7001]
                .map(|port| PeerUrl { tls: false, host: "localhost".to_owned(), port })
                .to_vec(),
        }
    }

    fn workers(&self) -> NonZeroUsize {
        let set = match self.0.value("workers") {
            Some(Value::Number(number)) => {
                usize::try_from(*number).ok().and_then(NonZeroUsize::new)
            }
            _ => None,
        };
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        set.unwrap_or_else(cores)
    }

    fn log(&self, cwd: &Path) -> LogSettings {
        let level = value::level(&self.text("log-level")).unwrap_or(LogLevel::Info);
        let journal = self.list("log-outputs").iter().any(|output| output == JOURNAL);
        LogSettings {
            level: if self.bool("debug") { LogLevel::Debug } else { level },
            package_levels: match self.0.value("log-package-levels") {
                Some(Value::Levels(levels)) => levels.clone(),
                _ => Vec::new(),
            },
            format: match self.text("log-format").as_str() {
                "text" | "console" => LogFormat::Text,
                "json" => LogFormat::Json,
                "journald" => LogFormat::Journald,
                _ if journal => LogFormat::Journald,
                _ => LogFormat::Auto,
            },
            outputs: outputs(&self.list("log-outputs"), cwd),
        }
    }
}

/// etcd's word for the journal among `log-outputs`.
const JOURNAL: &str = "systemd/journal";

/// Returns each output once; none means standard error.
fn outputs(words: &[String], cwd: &Path) -> Vec<LogOutput> {
    let mut outputs = Vec::new();
    for word in words {
        let output = match word.as_str() {
            "default" | "stderr" | JOURNAL => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            path => LogOutput::File(cwd.join(path)),
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    if outputs.is_empty() { vec![LogOutput::Stderr] } else { outputs }
}

impl Inputs {
    /// Returns the first directory that systemd names in this variable.
    fn directory(&self, variable: &str) -> Option<PathBuf> {
        let (_, value) = self.env.iter().find(|(name, _)| name == OsStr::new(variable))?;
        let first = std::env::split_paths(value).next()?;
        first.is_absolute().then_some(first)
    }
}
