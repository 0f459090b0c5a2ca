//! Where the peers to ask come from. Static lists today; discovery and DNS SRV belong here.

use crate::config::{PeerSource, PeerUrl};

/// Finds the peers that `source` names, in the order in which they are to be asked.
///
/// A source that has to ask somebody itself waits here; dropping the future ends that.
pub async fn resolve(source: &PeerSource) -> Vec<PeerUrl> {
    match source {
        PeerSource::Static(peers) => peers.clone(),
    }
}

/// Names the peers that are known without asking anybody, to be shown before the first refresh.
pub fn known(source: &PeerSource) -> &[PeerUrl] {
    match source {
        PeerSource::Static(peers) => peers,
    }
}

/// Identifies what the operator wrote: equal for equal sources, whatever the order of their peers.
///
/// It is readable text, because it stands in the cluster file, where people look for the reason of things.
pub fn fingerprint(source: &PeerSource) -> String {
    match source {
        PeerSource::Static(peers) => {
            let mut urls: Vec<String> = peers.iter().map(PeerUrl::to_string).collect();
            urls.sort();
            urls.dedup();
            format!("initial-cluster {}", urls.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(hosts: &[&str]) -> PeerSource {
        PeerSource::Static(
            hosts
                .iter()
                .map(|host| PeerUrl { tls: false, host: (*host).to_owned(), port: 2380 })
                .collect(),
        )
    }

    #[test]
    fn the_order_of_peers_does_not_change_the_source() {
        assert_eq!(fingerprint(&source(&["a", "b"])), fingerprint(&source(&["b", "a", "b"])));
        assert_ne!(fingerprint(&source(&["a", "b"])), fingerprint(&source(&["a"])));
        assert_eq!(
            fingerprint(&source(&["b", "a"])),
            "initial-cluster http://a:2380,http://b:2380"
        );
    }

    #[tokio::test]
    async fn static_peers_are_asked_in_the_order_given() {
        let peers = resolve(&source(&["b", "a"])).await;
        assert_eq!(peers, known(&source(&["b", "a"])));
    }
}
