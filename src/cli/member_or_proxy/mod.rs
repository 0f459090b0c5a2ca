//! `proxy = "off"`: this host is a member of the cluster if there is room, and a proxy if there is
//! none.
//!
//! The registry that discovery names is read at every start. There is room, or this host is
//! registered already: etcd takes this process over, so that systemd sees one service, and
//! registers itself. The cluster is full: this program goes on as a proxy, or ends with [`FULL`].
//! When two hosts race for the last place, etcd refuses the loser and ends; it is started again and
//! finds the registry full.
//!
//! A registry is needed to form a cluster, and often gone after that. A host that has been a proxy
//! of this cluster (the cluster file says so) goes on as one when the registry is of no use.
//! Elsewhere a registry that cannot be read is asked again with etcd's own pauses, 2, 4, ... 256 s,
//! while systemd is told that the start goes on.

mod member;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::output::{complain, style};
use crate::cluster::discovery_service::{self, Registered, RegistryError};
use crate::cluster::file::ClusterFile;
use crate::cluster::source;
use crate::config::{Discovery, Inputs, Loaded, MemberSettings, PeerSource, Problems, Settings};
use crate::daemon::systemd::Notifier;
use crate::tls::TlsConfigs;

/// The exit status when the cluster is full and `discovery-fallback` is "exit" (sysexits'
/// EX_UNAVAILABLE).
const FULL: u8 = 69;
/// The longest pause between two looks is 2 to the power of this, in seconds (etcd's
/// `maxExponentialRetries`).
const MOST_DOUBLINGS: u32 = 8;
/// systemd is told this often that the start goes on, and given three times as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Decides what this host is. Returns `None` to go on as a proxy, or the exit status; does not
/// return when this process becomes etcd.
pub(super) fn decide(
    inputs: &Inputs,
    loaded: &Loaded,
    tls_configs: &TlsConfigs,
    member: &MemberSettings,
) -> Option<ExitCode> {
    if has_joined(inputs, loaded) {
        complain("this host has a member's data: running etcd\n");
        return Some(become_member(inputs, loaded, member));
    }
    let PeerSource::Discovery(discovery) = &loaded.settings.peers else {
        complain("error: not started: `proxy` is \"off\", and there is no registry\n");
        return Some(ExitCode::FAILURE);
    };
    let was_proxy = !member.exits_when_full && was_proxy(&loaded.settings);
    let registered = match fetch_registered(discovery, tls_configs, !was_proxy) {
        Ok(registered) => registered,
        Err(error) if was_proxy => {
            complain(&format!(
                "warning: {error}; this host was a proxy of that cluster before: serving as a proxy\n"
            ));
            return None;
        }
        Err(error) => {
            complain(&format!("error: not started: {error}\n"));
            return Some(ExitCode::FAILURE);
        }
    };
    let is_registered = registered.has(&loaded.settings.name, &member.peer_urls);
    if !registered.is_complete() || is_registered {
        let why = if is_registered { "this host is one of them" } else { "there is room" };
        complain(&format!("{registered}, {why}: running etcd\n"));
        return Some(become_member(inputs, loaded, member));
    }
    if member.exits_when_full {
        complain(&format!(
            "error: not started: the cluster is full ({registered}), this host is not in it, and `discovery-fallback` is \
             \"exit\"\n"
        ));
        return Some(ExitCode::from(FULL));
    }
    complain(&format!(
        "the cluster is full ({registered}), and this host is not in it: serving as a proxy\n"
    ));
    None
}

/// Whether etcd has joined a cluster with the data directory of these settings.
pub(super) fn has_joined(inputs: &Inputs, loaded: &Loaded) -> bool {
    is_member(&loaded.settings.data_dir, &member::wal_dir(inputs, loaded))
}

/// Whether etcd has joined here: it writes a log before anything else counts, but makes directories
/// even when it is refused.
fn is_member(data_dir: &Path, wal_dir: &Option<std::path::PathBuf>) -> bool {
    let default = data_dir.join("member/wal");
    let logs = std::fs::read_dir(wal_dir.as_deref().unwrap_or(&default));
    let is_log = |name: std::ffi::OsString| name.as_encoded_bytes().ends_with(b".wal");
    logs.is_ok_and(|entries| entries.flatten().any(|entry| is_log(entry.file_name())))
}

/// Whether this host has served as a proxy of the cluster that the settings lead to: it has kept
/// that cluster's peers, which go when a host becomes a member.
fn was_proxy(settings: &Settings) -> bool {
    let kept = ClusterFile::below(&settings.data_dir).read(&source::fingerprint(&settings.peers));
    kept.is_ok_and(|kept| kept.is_some())
}

/// Reads the registry; with patience, however long that takes.
///
/// # Errors
/// What etcd gives up at; without patience, anything.
fn fetch_registered(
    discovery: &Discovery,
    tls_configs: &TlsConfigs,
    patient: bool,
) -> Result<Registered, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let mut notifier = Notifier::from_env();
    runtime.block_on(async {
        let mut doublings = 0;
        loop {
            notifier.extend_timeout(3 * PATIENCE);
            match discovery_service::fetch(discovery, &tls_configs.registry).await {
                Ok(registered) => return Ok(registered),
                Err(error) if error.is_fatal() || !patient => return Err(error.to_string()),
                Err(error) => {
                    doublings = MOST_DOUBLINGS.min(doublings + 1);
                    let pause = Duration::from_secs(1 << doublings);
                    wait(&mut notifier, &error, pause).await;
                }
            }
        }
    })
}

async fn wait(notifier: &mut Notifier, error: &RegistryError, pause: Duration) {
    let text =
        format!("whether this host is a member is not known: {error}; asking again in {pause:?}");
    complain(&format!("warning: {text}\n"));
    notifier.status(&text);
    let mut left = pause;
    while !left.is_zero() {
        notifier.extend_timeout(3 * PATIENCE);
        let slice = left.min(PATIENCE);
        tokio::time::sleep(slice).await;
        left -= slice;
    }
}

/// Runs etcd in the place of this process. Returns only when that cannot be.
fn become_member(inputs: &Inputs, loaded: &Loaded, settings: &MemberSettings) -> ExitCode {
    // etcd up to 3.5 would take what a proxy left here for a reason to be one itself.
    let left = loaded.settings.data_dir.join("proxy");
    if let Err(error) = std::fs::remove_dir_all(&left)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        complain(&format!("error: not started: cannot remove {}: {error}\n", left.display()));
        return ExitCode::FAILURE;
    }
    // etcd says nothing of what stands in our settings file.
    if !loaded.warnings.is_empty() {
        let warnings = Problems(loaded.warnings.clone());
        complain(&warnings.report(style(&inputs.env), "running etcd"));
    }
    Notifier::from_env().hand_over(&inputs.env);
    let fault = member::command(inputs, loaded, settings).exec();
    let binary = settings.binary.display();
    complain(&format!(
        "error: not started: cannot run `{binary}`: {fault}; want etcd's path in `member-binary`, or etcd in PATH\n"
    ));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_makes_a_member() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        assert!(!is_member(data, &None));
        std::fs::create_dir_all(data.join("member/wal")).unwrap();
        std::fs::create_dir_all(data.join("member/snap")).unwrap();
        assert!(!is_member(data, &None), "a member that was refused leaves this");
        std::fs::write(data.join("member/wal/0.wal"), "").unwrap();
        assert!(is_member(data, &None));
        assert!(!is_member(data, &Some(data.join("elsewhere"))));
    }
}
