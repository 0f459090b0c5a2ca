//! Finds the members' client URLs: from an earlier run or the running daemon, else from the
//! configured peers.

use std::time::Duration;

use super::record::PromotionRecord;
use crate::cluster::discovery_service;
use crate::cluster::fetch::{Access, FETCH_LIMIT};
use crate::cluster::file::ClusterFile;
use crate::cluster::member::MemberList;
use crate::cluster::peer_query::ask as ask_peers;
use crate::cluster::pin::Pin;
use crate::cluster::source;
use crate::cluster::srv::Records;
use crate::config::{PeerSource, PeerUrl, Settings};
use crate::telemetry::snapshot::Snapshot;
use crate::tls::TlsConfigs;

/// Time limit of the running daemon's answer.
const DAEMON_LIMIT: Duration = Duration::from_secs(5);

/// Returns the client URLs known to an earlier run or to the running daemon; empty if neither has
/// any.
pub(super) fn known(settings: &Settings, earlier: Option<&PromotionRecord>) -> Vec<String> {
    if let Some(earlier) = earlier {
        return earlier.endpoints.clone();
    }
    let socket = &settings.admin_socket;
    let answer = crate::cli::ask::ask(socket, http::Method::GET, "/status", DAEMON_LIMIT);
    let snapshot: Option<Snapshot> = answer.ok().and_then(|answer| answer.json(socket).ok());
    let members = snapshot.unwrap_or_default().members;
    let urls = members.into_iter().flat_map(|member| member.endpoints);
    urls.filter(|url| url.usable).map(|url| url.url).collect()
}

/// Returns the client URLs in the member list of the configured peers.
pub(super) async fn by_peers(
    settings: &Settings,
    tls_configs: &TlsConfigs,
) -> Result<Vec<String>, String> {
    let peers = peers(&settings.peers, tls_configs).await?;
    // Accept only the pinned cluster: one of the addresses may belong to a rebuilt cluster by now.
    let kept = ClusterFile::below(&settings.data_dir).read(&source::fingerprint(&settings.peers));
    let pinned = kept.ok().flatten().and_then(|kept| kept.cluster_id());
    let pin = Pin { pinned, accepted: settings.accept_cluster_id };
    let access = Access::new(settings, tls_configs);
    let asked = ask_peers(&peers, pin, &access, FETCH_LIMIT).await;
    match asked.answer {
        Some((_, list)) => Ok(client_urls(&list)),
        None => {
            let reasons = asked.errors.iter().map(|(peer, error)| format!("{peer}: {error}"));
            Err(format!("no member can be found: {}", reasons.collect::<Vec<_>>().join("; ")))
        }
    }
}

/// Returns the peers as the daemon would find them, but without waiting for missing ones.
async fn peers(source: &PeerSource, tls_configs: &TlsConfigs) -> Result<Vec<PeerUrl>, String> {
    match source {
        PeerSource::Static(peers) => Ok(peers.clone()),
        PeerSource::Discovery(discovery) => {
            let registered = discovery_service::fetch(discovery, &tls_configs.registry).await;
            let registered = registered.map_err(|error| error.to_string())?;
            if !registered.is_complete() {
                return Err(format!("the cluster is not complete: {registered}"));
            }
            registered.peers().map_err(|error| error.to_string())
        }
        PeerSource::Srv(domain) => {
            let mut records = Records::default();
            records.look_up(domain).await.map_err(|error| error.to_string())?;
            Ok(records.in_order())
        }
    }
}

/// Returns all client URLs of voting members, which can process a change.
pub(super) fn client_urls(list: &MemberList) -> Vec<String> {
    let voters = list.members.iter().filter(|member| !member.is_learner);
    voters.flat_map(|member| member.client_urls.clone()).collect()
}
