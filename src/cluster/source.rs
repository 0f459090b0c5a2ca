//! The source of the peers in words: for display before any are known, and to tell two sources
//! apart.

use super::discovery_service;
use crate::config::{Discovery, PeerSource, PeerUrl, WebUrl};

/// Returns the peers that are known without asking anybody, for display before the first refresh.
pub fn known(source: &PeerSource) -> &[PeerUrl] {
    match source {
        PeerSource::Static(peers) => peers,
        PeerSource::Discovery(_) | PeerSource::Srv(_) => &[],
    }
}

/// Returns the name of a source that has to be asked, for people; `None` for a list.
pub fn describe(source: &PeerSource) -> Option<String> {
    match source {
        PeerSource::Static(_) => None,
        PeerSource::Discovery(discovery) => {
            Some(format!("discovery at {}", discovery_service::place(discovery)))
        }
        PeerSource::Srv(srv) => Some(format!("SRV records of {}", srv.domain)),
    }
}

/// Returns a text that identifies the configured source. Equal sources have equal texts, whatever
/// the order of their peers.
///
/// It is readable, because it stands in the cluster file, where people look for the reason of
/// things.
pub fn fingerprint(source: &PeerSource) -> String {
    match source {
        PeerSource::Static(peers) => {
            format!("initial-cluster {}", sorted(peers.iter().map(PeerUrl::to_string)))
        }
        PeerSource::Discovery(Discovery::V2(registry)) => format!("discovery {}", registry.url),
        PeerSource::Discovery(Discovery::V3(registry)) => {
            let endpoints = sorted(registry.endpoints.iter().map(WebUrl::to_string));
            format!("discovery-token {} at {endpoints}", registry.token)
        }
        PeerSource::Srv(srv) => format!("discovery-srv {}", srv.record("etcd-server")),
    }
}

fn sorted(urls: impl Iterator<Item = String>) -> String {
    let mut urls: Vec<String> = urls.collect();
    urls.sort();
    urls.dedup();
    urls.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SrvDomain;

    fn source(hosts: &[&str]) -> PeerSource {
        let peer =
            |host: &&str| super::super::url::parse_url(&format!("http://{host}:2380")).unwrap();
        PeerSource::Static(hosts.iter().map(peer).collect())
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

    #[test]
    fn a_domain_with_another_suffix_is_another_source() {
        let srv = |name: &str| {
            PeerSource::Srv(SrvDomain { domain: "example.com".to_owned(), name: name.to_owned() })
        };
        assert_eq!(fingerprint(&srv("")), "discovery-srv _etcd-server._tcp.example.com");
        assert_ne!(fingerprint(&srv("")), fingerprint(&srv("blue")));
    }
}
