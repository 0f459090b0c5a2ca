//! Builds [`Settings`] from the effective values, and checks settings against each other.
//!
//! Each value was checked on its own before. Here defaults that depend on other settings are filled
//! in, and combinations that cannot work are refused.

mod fill;
mod listening;
mod refuse;
mod sources;
mod tls;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::fields::Fields;
use super::inputs::Inputs;
use super::location::Location;
use super::origins::Origins;
use super::problem::Problems;
use super::settings::{
    Balance, LogFormat, LogLevel, LogOutput, LogSettings, MemberSettings, Mode, Settings,
};
use super::value;
use refuse::refuse;

pub(super) use fill::fill;

/// Returns the settings, which are valid only if no error was added to `problems`.
pub(super) fn resolve(fields: &Fields, inputs: &Inputs, problems: &mut Problems) -> Settings {
    check(fields, problems);
    Settings {
        name: fields.name.value.clone(),
        mode: if fields.proxy.value == "readonly" { Mode::Readonly } else { Mode::Readwrite },
        listen_client_urls: listening::client_urls(fields),
        listen_metrics_urls: fields.listen_metrics_urls.value.clone(),
        advertise_client_urls: fields.advertise_client_urls.value.clone(),
        rewrite_members: fields.rewrite_members.value,
        member: (fields.proxy.value == "off").then(|| MemberSettings {
            binary: fields.member_binary.value.clone().into(),
            peer_urls: fields.initial_advertise_peer_urls.value.clone(),
            exits_when_full: fields.discovery_fallback.value == "exit",
        }),
        data_dir: data_dir(fields, inputs),
        admin_socket: admin_socket(fields, inputs),
        peers: sources::peer_source(fields, problems),
        accept_cluster_id: fields.accept_cluster_id.value,
        refresh_interval: fields.proxy_refresh_interval.value,
        failure_wait: fields.proxy_failure_wait.value,
        dial_timeout: fields.proxy_dial_timeout.limit(),
        write_timeout: fields.proxy_write_timeout.limit(),
        read_timeout: fields.proxy_read_timeout.limit(),
        balance: if fields.balance.value == "p2c" { Balance::P2c } else { Balance::Sticky },
        health_interval: fields.health_interval.limit(),
        health_timeout: fields.health_timeout.value,
        require_cluster_proof: fields.require_cluster_proof.value,
        drain_timeout: fields.drain_timeout.value,
        workers: workers(fields),
        cors: fields.cors.value.clone(),
        host_whitelist: fields.host_whitelist.value.clone(),
        enable_pprof: fields.enable_pprof.value,
        tls: tls::resolve(fields, &data_dir(fields, inputs)),
        log: log(fields, &inputs.cwd),
    }
}

/// Returns the path of the admin socket: as set, else in `$RUNTIME_DIRECTORY`, else in
/// `/run/etcd-proxy`.
pub(super) fn admin_socket(fields: &Fields, inputs: &Inputs) -> PathBuf {
    fields.admin_socket.value.clone().unwrap_or_else(|| usual_admin_socket(inputs))
}

/// Returns the path of the admin socket when it is not set.
pub(super) fn usual_admin_socket(inputs: &Inputs) -> PathBuf {
    let runtime = inputs.directory("RUNTIME_DIRECTORY");
    runtime.unwrap_or_else(|| PathBuf::from("/run/etcd-proxy")).join("admin.sock")
}

/// Returns the data directory: as set, else `$STATE_DIRECTORY`, else `<name>.etcd` in the working
/// directory.
fn data_dir(fields: &Fields, inputs: &Inputs) -> PathBuf {
    let set = fields.data_dir.value.clone().or_else(|| inputs.directory("STATE_DIRECTORY"));
    set.unwrap_or_else(|| inputs.cwd.join(format!("{}.etcd", fields.name.value)))
}

/// Sets systemd's variables as the place of the directories that come from them.
pub(super) fn blame_directories(origins: &mut Origins, fields: &Fields, inputs: &Inputs) {
    let from = [(&fields.data_dir, "STATE_DIRECTORY"), (&fields.admin_socket, "RUNTIME_DIRECTORY")];
    for (field, variable) in from {
        if field.value.is_none() && inputs.directory(variable).is_some() {
            origins.blame(field.name, Location::Variable(variable.to_owned()));
        }
    }
}

/// Refuses combinations that cannot work, and warns of settings that are ignored. A setting with a
/// mistake of its own is not checked against others.
fn check(fields: &Fields, problems: &mut Problems) {
    let Fields { discovery, discovery_token, .. } = fields;
    let registry_known = !discovery.value.is_empty() || !discovery_token.value.is_empty();
    let is_sound = discovery.is_sound && discovery_token.is_sound;
    if fields.proxy.value == "off" && !registry_known && is_sound {
        let message = "`proxy` is \"off\", which makes this host a member if the cluster has room, and no registry is set";
        let hint = "want `discovery` or `discovery-token`, or \"on\" or \"readonly\"";
        refuse(problems, &fields.proxy, message, hint);
    }
    if fields.member_binary.value.is_empty() {
        let hint = "want the path of etcd, or its name in PATH";
        refuse(problems, &fields.member_binary, "`member-binary` is empty", hint);
    }
    if fields.listen_client_urls.value.is_empty() {
        let message = "`listen-client-urls` is empty";
        refuse(problems, &fields.listen_client_urls, message, "want at least one URL");
    }
    let name = &fields.name;
    if name.value.is_empty() || name.value.contains('/') {
        let message = format!("`name` is {}", value::quoted(&name.value));
        refuse(problems, name, message, "want a word without slashes");
    }
    let advertised = &fields.advertise_client_urls;
    if fields.rewrite_members.value && advertised.value.is_empty() && advertised.is_sound {
        let message = "`rewrite-members` is set, and `advertise-client-urls` is not";
        let hint = "want the URLs by which clients reach this proxy in `advertise-client-urls`";
        refuse(problems, &fields.rewrite_members, message, hint);
    }
    listening::check(fields, problems);
    tls::check(fields, problems);
}

fn workers(fields: &Fields) -> NonZeroUsize {
    let set = usize::try_from(fields.workers.value).ok().and_then(NonZeroUsize::new);
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    set.unwrap_or_else(|| cores().min(WORKERS_MOST))
}

fn log(fields: &Fields, cwd: &Path) -> LogSettings {
    let level = LogLevel::named(&fields.log_level.value).unwrap_or(LogLevel::Info);
    let journal = fields.log_outputs.value.iter().any(|output| output == JOURNAL);
    LogSettings {
        level: if fields.debug.value { LogLevel::Debug } else { level },
        package_levels: fields.log_package_levels.value.clone(),
        format: match fields.log_format.value.as_str() {
            "text" | "console" => LogFormat::Text,
            "json" => LogFormat::Json,
            "journald" => LogFormat::Journald,
            _ if journal => LogFormat::Journald,
            _ => LogFormat::Auto,
        },
        outputs: outputs(&fields.log_outputs.value, cwd),
    }
}

/// etcd's word for the journal among `log-outputs`.
const JOURNAL: &str = "systemd/journal";

/// Most threads that are started when their number is not set: one carries more than a cluster
/// takes, and each has connections to members of its own.
const WORKERS_MOST: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// Returns the outputs, each once; without one, standard error.
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
