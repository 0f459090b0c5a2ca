//! Who is registered: what both protocols of discovery come to, and the peers that it names.

use std::collections::BTreeSet;

use super::error::{Fault, RegistryError, excerpt};
use crate::cluster::url::parse_listed;
use crate::config::PeerUrl;

/// Peer URLs that are taken from a registry; more than any cluster has. All of them are asked, and
/// shown.
const MOST_URLS: usize = 300;

/// What a registry said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// How many members the cluster is to have; at least one.
    pub size: usize,
    /// Everybody who is registered, in the order of registration: the first `size` are the members.
    pub members: Vec<Registration>,
    /// Where to go on when changes are waited for.
    pub(super) position: u64,
    /// Whether each name counts once, and twice is an error (v2).
    pub(super) names_are_unique: bool,
    /// The registry, as messages call it.
    pub(super) place: String,
}

/// One entry of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The member's ID as the entry's key has it, in hexadecimal.
    pub id: String,
    /// The member's name; empty when the entry is junk.
    pub name: String,
    /// Its peer URLs as they are written, unchecked.
    pub peer_urls: Vec<String>,
    /// The entry as it is written, `name=url,name=url2`.
    pub value: String,
}

impl Registration {
    pub(super) fn new(key: &str, value: &str) -> Self {
        let pairs: Vec<(&str, &str)> =
            value.split(',').filter_map(|pair| pair.trim().split_once('=')).collect();
        Self {
            id: key.rsplit('/').next().unwrap_or_default().to_owned(),
            name: pairs.first().map(|(name, _)| (*name).to_owned()).unwrap_or_default(),
            peer_urls: pairs.iter().map(|(_, url)| (*url).to_owned()).collect(),
            value: value.to_owned(),
        }
    }

    /// The names in it: one, unless somebody wrote it by hand.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.value.split(',').filter_map(|pair| Some(pair.trim().split_once('=')?.0))
    }
}

impl Registered {
    /// Whether all members are registered. Who comes later is not one.
    pub fn is_complete(&self) -> bool {
        self.members.len() >= self.size
    }

    /// Whether the member of this name with these peer URLs (in any order) is among the first
    /// `size`.
    pub fn has(&self, name: &str, peer_urls: &[String]) -> bool {
        let sorted = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
        self.cluster()
            .iter()
            .any(|member| member.name == name && sorted(&member.peer_urls) == sorted(peer_urls))
    }

    /// The members: the first `size` that are registered, fewer while it is not complete.
    pub fn cluster(&self) -> &[Registration] {
        &self.members[..self.size.min(self.members.len())]
    }

    /// The peers of a complete cluster.
    ///
    /// # Errors
    /// What makes etcd give up: an entry without a peer URL, and in v2 one name twice.
    pub fn peers(&self) -> Result<Vec<PeerUrl>, RegistryError> {
        let fault = |fault| RegistryError { place: self.place.clone(), fault };
        let mut peers = Vec::new();
        for member in self.cluster() {
            if member.peer_urls.is_empty() {
                return Err(fault(Fault::BadEntry(excerpt(&member.value), "not NAME=URL".into())));
            }
            let bad = |reason: String| fault(Fault::BadEntry(excerpt(&member.value), reason));
            if peers.len() + member.peer_urls.len() > MOST_URLS {
                return Err(bad(format!("with it there are more than {MOST_URLS} peer URLs")));
            }
            for url in &member.peer_urls {
                peers.push(parse_listed(url).map_err(|reason| bad(reason.to_string()))?);
            }
        }
        let names: BTreeSet<&str> = self.cluster().iter().flat_map(Registration::names).collect();
        if self.names_are_unique && names.len() != self.size {
            return Err(fault(Fault::DuplicateName { names: names.len(), size: self.size }));
        }
        Ok(peers)
    }
}

/// How many are registered, as people are told: `2 of 3 members registered at http://...`.
impl std::fmt::Display for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let here = self.cluster().len();
        write!(f, "{here} of {} members registered at {}", self.size, self.place)
    }
}

/// Reads a size as etcd does: decimal digits and nothing else; zero is no size.
pub(super) fn size(text: &str) -> Result<usize, Fault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let size = digits.then(|| text.parse().ok()).flatten().filter(|size| *size > 0);
    size.ok_or_else(|| Fault::BadSize(excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(size: usize, values: &[&str]) -> Registered {
        let entry =
            |(index, value): (usize, &&str)| Registration::new(&format!("/r/t/{index}"), value);
        Registered {
            size,
            members: values.iter().enumerate().map(entry).collect(),
            position: 7,
            names_are_unique: true,
            place: "http://r/t".to_owned(),
        }
    }

    fn hosts(registered: &Registered) -> Result<Vec<String>, String> {
        let peers = registered.peers().map_err(|error| {
            assert!(error.is_fatal());
            error.to_string()
        })?;
        Ok(peers.into_iter().map(|peer| peer.host).collect())
    }

    #[test]
    fn the_first_that_registered_are_the_members() {
        let three = ["a=http://a:1,a=http://aa:1", "b=http://b:1", "c=http://c:1"];
        let registered = registered(2, &three);
        assert!(registered.is_complete());
        assert_eq!(hosts(&registered).unwrap(), ["a", "aa", "b"]);
        assert!(registered.has("a", &["http://aa:1".to_owned(), "http://a:1".to_owned()]));
        assert!(!registered.has("a", &["http://a:1".to_owned()]));
        assert!(!registered.has("c", &["http://c:1".to_owned()]), "it came too late");
    }

    #[test]
    fn an_incomplete_cluster_says_how_far_it_is() {
        let registered = registered(3, &["a=http://a:1", "b=http://b:1"]);
        assert!(!registered.is_complete());
        assert_eq!(registered.to_string(), "2 of 3 members registered at http://r/t");
    }

    #[test]
    fn entries_that_name_no_peers_are_told() {
        assert_eq!(
            hosts(&registered(1, &["junk\n"])).unwrap_err(),
            "http://r/t: the entry \"junk\\n\" is of no use: not NAME=URL; delete it, or use another token"
        );
        assert_eq!(
            hosts(&registered(1, &["a=http://a"])).unwrap_err(),
            "http://r/t: the entry \"a=http://a\" is of no use: not a URL of the form http://HOST:PORT or \
             https://HOST:PORT; delete it, or use another token"
        );
    }

    #[test]
    fn more_urls_than_any_cluster_has_are_refused_whole() {
        let entry = |urls: usize| -> String {
            (0..urls).map(|port| format!("a=http://a:{}", port + 1)).collect::<Vec<_>>().join(",")
        };
        assert_eq!(hosts(&registered(1, &[&entry(MOST_URLS)])).unwrap().len(), MOST_URLS);
        let said = hosts(&registered(1, &[&entry(20_000)])).unwrap_err();
        assert!(said.contains("with it there are more than 300 peer URLs; delete it"), "{said}");
        assert!(said.len() < 300, "{said}");
    }

    #[test]
    fn one_name_twice_is_told() {
        assert_eq!(
            hosts(&registered(2, &["a=http://a:1", "a=http://b:1"])).unwrap_err(),
            "http://r/t: the 2 members have only 1 name between them; give each its own `name`, and use another token"
        );
    }

    #[test]
    fn a_size_is_a_positive_number() {
        assert_eq!(size("3").unwrap(), 3);
        for bad in ["", "0", "-1", "+3", "three", "3 ", "99999999999999999999999"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }
}
