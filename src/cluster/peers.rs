//! The peers that are asked for the member list, and their last errors.

use std::collections::{HashMap, HashSet};

use super::fetch::FetchError;
use super::member::MemberList;
use super::peer_query::Asked;
use super::url::parse_listed;
use crate::config::PeerUrl;
use crate::telemetry::snapshot::PeerStatus;

/// All known peers. A peer is asked once, however many ways it became known.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// The peers of the configured source; asked first.
    pub configured: Vec<PeerUrl>,
    /// The peers of the last good member list; asked next, so that a cluster can move away from its
    /// configured peers.
    pub adopted: Vec<PeerUrl>,
    /// The peers of the cluster file; asked only when no other answers.
    pub cached: Vec<PeerUrl>,
    errors: HashMap<PeerUrl, FetchError>,
}

impl Peers {
    /// Makes a set of the configured peers only.
    pub fn new(configured: Vec<PeerUrl>) -> Self {
        Self { configured, ..Self::default() }
    }

    /// Returns the peers to ask: configured, then adopted.
    pub fn to_ask(&self) -> Vec<PeerUrl> {
        once_each(self.configured.iter().chain(&self.adopted))
    }

    /// Returns the peers of the cluster file that are not among [`Self::to_ask`].
    pub fn last_resort(&self) -> Vec<PeerUrl> {
        let asked: HashSet<&PeerUrl> = self.configured.iter().chain(&self.adopted).collect();
        once_each(self.cached.iter().filter(|peer| !asked.contains(peer)))
    }

    /// Adopts the peer URLs of a good list in place of those of the one before, without unusable
    /// ones.
    pub fn adopt(&mut self, list: &MemberList) {
        self.adopted = list.peer_urls().iter().filter_map(|url| parse_listed(url).ok()).collect();
        // The list replaces the cluster file's peers.
        self.cached.clear();
        let known: HashSet<&PeerUrl> = self.configured.iter().chain(&self.adopted).collect();
        self.errors.retain(|peer, _| known.contains(peer));
    }

    /// Records the answers. Returns the peers that were refused, as foreign or for a list that is
    /// too large, and were not known for it before.
    ///
    /// Once there is a good answer, old errors of peers that were not asked this time are dropped.
    /// Only a foreign cluster does not go away by itself.
    pub fn note(&mut self, asked: &Asked) -> Vec<(PeerUrl, FetchError)> {
        if let Some((winner, _)) = &asked.answer {
            let told: HashSet<&PeerUrl> = asked.errors.iter().map(|(peer, _)| peer).collect();
            let lasts = |error: &FetchError| matches!(error, FetchError::Foreign(_));
            let agreeing: HashSet<&PeerUrl> = asked.agreeing.iter().collect();
            let agrees = |peer: &PeerUrl| peer == winner || agreeing.contains(peer);
            self.errors
                .retain(|peer, error| !agrees(peer) && (told.contains(peer) || lasts(error)));
        }
        let mut foreign = Vec::new();
        for (peer, error) in &asked.errors {
            let before = self.errors.insert(peer.clone(), error.clone());
            if is_refusal(error) && before.as_ref() != Some(error) {
                foreign.push((peer.clone(), error.clone()));
            }
        }
        foreign
    }

    /// Drops the errors of foreign peers, because another cluster is served now.
    pub fn forget_foreign(&mut self) {
        self.errors.retain(|_, error| !matches!(error, FetchError::Foreign(_)));
    }

    /// Returns the peers that last showed another cluster's ID or too large a list, each in one
    /// line.
    pub fn foreign(&self) -> Vec<String> {
        let errors =
            self.to_ask().into_iter().filter_map(|peer| Some((self.errors.get(&peer)?, peer)));
        let foreign = errors.filter(|(error, _)| is_refusal(error));
        foreign.map(|(error, peer)| format!("peer {peer}: {error}")).collect()
    }

    /// Returns the status of each peer that is or was asked.
    pub fn statuses(&self) -> Vec<PeerStatus> {
        let mut peers = self.to_ask();
        peers.extend(self.last_resort());
        let status = |peer: PeerUrl| PeerStatus {
            url: peer.to_string(),
            error: self.errors.get(&peer).map(FetchError::to_string),
        };
        peers.into_iter().map(status).collect()
    }
}

/// Returns whether a peer answered but is refused, which people should know whoever else answers.
fn is_refusal(error: &FetchError) -> bool {
    match error {
        FetchError::Foreign(_) | FetchError::TooLarge => true,
        FetchError::Junk(error) => error.is_too_much(),
        _ => false,
    }
}

fn once_each<'a>(peers: impl Iterator<Item = &'a PeerUrl>) -> Vec<PeerUrl> {
    let mut seen = HashSet::new();
    peers.filter(|peer| seen.insert(*peer)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::pin::ForeignCluster;
    use super::*;
    use crate::net::dial::DialReason;

    fn peer(host: &str) -> PeerUrl {
        PeerUrl { tls: false, host: host.to_owned(), port: 2380 }
    }

    fn configured(hosts: &[&str]) -> Peers {
        Peers::new(hosts.iter().map(|host| peer(host)).collect())
    }

    fn list(json: &str) -> MemberList {
        MemberList::parse(1, json.as_bytes()).unwrap()
    }

    fn failed(host: &str, error: FetchError) -> Asked {
        Asked { answer: None, agreeing: Vec::new(), errors: vec![(peer(host), error)] }
    }

    fn hosts(peers: &[PeerUrl]) -> Vec<&str> {
        peers.iter().map(|peer| peer.host.as_str()).collect()
    }

    #[test]
    fn configured_peers_come_first_and_none_comes_twice() {
        let mut peers = configured(&["c", "a"]);
        peers.adopt(&list(r#"[{"id":1,"peerURLs":["http://a:2380","http://b:2380"]}]"#));
        assert_eq!(hosts(&peers.to_ask()), ["c", "a", "b"]);
    }

    #[test]
    fn adopted_peers_are_those_of_the_last_list_only() {
        let mut peers = configured(&["c"]);
        peers.adopt(&list(r#"[{"id":1,"peerURLs":["http://a:2380"]}]"#));
        peers.adopt(&list(r#"[{"id":1,"peerURLs":["http://b:2380","unix:///d"]}]"#));
        assert_eq!(hosts(&peers.to_ask()), ["c", "b"]);
    }

    #[test]
    fn the_cluster_files_peers_are_a_last_resort_until_there_is_a_list() {
        let mut peers = configured(&["c"]);
        peers.cached = vec![peer("a"), peer("c"), peer("a")];
        assert_eq!(hosts(&peers.last_resort()), ["a"]);
        peers.adopt(&list(r#"[{"id":1,"peerURLs":["http://b:2380"]}]"#));
        assert!(peers.last_resort().is_empty());
    }

    #[test]
    fn the_status_shows_the_last_answer() {
        let mut peers = configured(&["a", "b"]);
        peers.note(&failed("a", DialReason::Refused.into()));
        let [a, b] = &peers.statuses()[..] else { panic!("two peers") };
        assert_eq!(
            (a.url.as_str(), a.error.as_deref()),
            ("http://a:2380", Some("connection refused"))
        );
        assert_eq!(b.error, None);
        let answer = Some((peer("a"), list(r#"[{"id":1}]"#)));
        peers.note(&Asked { answer, agreeing: Vec::new(), errors: Vec::new() });
        assert_eq!(peers.statuses()[0].error, None);
    }

    #[test]
    fn old_errors_of_peers_that_were_not_asked_go_with_the_next_answer() {
        let mut peers = configured(&["a", "b", "c"]);
        peers.note(&failed("b", DialReason::Refused.into()));
        peers.note(&failed("c", ForeignCluster { theirs: 2, ours: 1 }.into()));
        let answer = Some((peer("a"), list(r#"[{"id":1}]"#)));
        peers.note(&Asked { answer, agreeing: Vec::new(), errors: Vec::new() });
        let failing: Vec<bool> =
            peers.statuses().iter().map(|status| status.error.is_some()).collect();
        assert_eq!(failing, [false, false, true]);
    }

    #[test]
    fn a_foreign_peer_is_news_once() {
        let mut peers = configured(&["a"]);
        let foreign = failed("a", ForeignCluster { theirs: 2, ours: 1 }.into());
        assert_eq!(peers.note(&foreign).len(), 1);
        assert_eq!(peers.note(&foreign).len(), 0);
        assert_eq!(peers.foreign().len(), 1);
    }
}
