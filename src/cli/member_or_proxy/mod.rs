//! `proxy = "off"`: makes this host a member of the cluster if there is room, and a proxy
//! otherwise.
//!
//! The registry given by the discovery settings is read at every start. If there is room, or this
//! host is already registered, this process executes etcd, so that systemd sees one service; etcd
//! registers itself. If the cluster is full, this program goes on as a proxy, or exits with
//! [`FULL`]. When two hosts race for the last place, the loser's etcd is refused and exits; its
//! restart finds the registry full.
//!
//! A registry is needed to form a cluster, and often gone afterwards. A host that has been a proxy
//! of this cluster (it has the cluster file) goes on as a proxy when the registry cannot be read.
//! On other hosts the registry is asked again, with etcd's own pauses of 2, 4, ... 256 s, and
//! systemd is told that the start goes on.

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
/// The longest pause between two attempts is 2 to the power of this, in seconds (etcd's
/// `maxExponentialRetries`).
const MOST_DOUBLINGS: u32 = 8;
/// How often systemd is told that the start goes on. Each time the start timeout is extended to
/// three times this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Decides whether this host is a member or a proxy. Returns `None` to go on as a proxy, or the
/// exit status. Does not return when this process becomes etcd.
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

/// Returns whether etcd has joined a cluster with the data directory of these settings.
pub(super) fn has_joined(inputs: &Inputs, loaded: &Loaded) -> bool {
    is_member(&loaded.settings.data_dir, &member::wal_dir(inputs, loaded))
}

/// Returns whether etcd has joined here, which its write-ahead log shows. Directories prove
/// nothing: etcd creates them even when it is refused.
fn is_member(data_dir: &Path, wal_dir: &Option<std::path::PathBuf>) -> bool {
    let default = data_dir.join("member/wal");
    let logs = std::fs::read_dir(wal_dir.as_deref().unwrap_or(&default));
    let is_log = |name: std::ffi::OsString| name.as_encoded_bytes().ends_with(b".wal");
    logs.is_ok_and(|entries| entries.flatten().any(|entry| is_log(entry.file_name())))
}

/// Returns whether this host has served as a proxy of the cluster in the settings: it has a cluster
/// file with that cluster's peers. The file is removed when a host becomes a member.
fn was_proxy(settings: &Settings) -> bool {
    let kept = ClusterFile::below(&settings.data_dir).read(&source::fingerprint(&settings.peers));
    kept.is_ok_and(|kept| kept.is_some())
}

/// Reads the registry. If `patient`, retries until it succeeds.
///
/// # Errors
/// Errors at which etcd gives up; if not `patient`, any error.
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
    let text = format!(
        "cannot tell yet whether this host is a member: {error}; asking again in {pause:?}"
    );
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

/// Replaces this process with etcd. Returns only on failure.
fn become_member(inputs: &Inputs, loaded: &Loaded, settings: &MemberSettings) -> ExitCode {
    // etcd up to 3.5 would run as a proxy itself if it found this directory.
    let left = loaded.settings.data_dir.join("proxy");
    if let Err(error) = std::fs::remove_dir_all(&left)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        complain(&format!("error: not started: cannot remove {}: {error}\n", left.display()));
        return ExitCode::FAILURE;
    }
    // etcd does not read our settings file, so report its warnings here.
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
