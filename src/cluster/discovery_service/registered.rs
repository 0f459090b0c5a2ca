//! The members that are registered, in a form that both discovery protocols share, and the peers
//! that they name.

use std::collections::BTreeSet;

use super::error::{Fault, RegistryError, excerpt};
use crate::cluster::url::parse_listed;
use crate::config::PeerUrl;

/// Most peer URLs that are taken from a registry: more than any cluster has. All of them are asked,
/// and shown.
const MOST_URLS: usize = 300;

/// The content of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The number of members that the cluster is to have; at least one.
    pub size: usize,
    /// All registrations, in order: the first `size` are the members.
    pub members: Vec<Registration>,
    /// The position in the registry's history after which to wait for changes: the index of the
    /// store in v2, its revision in v3.
    pub(super) position: u64,
    /// Whether names must be unique: in v2 a name that is used twice is an error.
    pub(super) names_are_unique: bool,
    /// The registry's name in messages.
    pub(super) place: String,
}

/// One entry of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The member's ID in the entry's key, in hexadecimal.
    pub id: String,
    /// The member's name; empty when the entry is junk.
    pub name: String,
    /// Its peer URLs as written, unchecked.
    pub peer_urls: Vec<String>,
    /// The entry as written: `name=url,name=url2`.
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

    /// Returns the names in the entry: one, unless somebody wrote it by hand.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.value.split(',').filter_map(|pair| Some(pair.trim().split_once('=')?.0))
    }
}

impl Registered {
    /// Returns whether all members are registered. Later registrations do not count.
    pub fn is_complete(&self) -> bool {
        self.members.len() >= self.size
    }

    /// Returns whether the member of this name with these peer URLs (in any order) is among the
    /// first `size`.
    pub fn has(&self, name: &str, peer_urls: &[String]) -> bool {
        let sorted = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
        self.cluster()
            .iter()
            .any(|member| member.name == name && sorted(&member.peer_urls) == sorted(peer_urls))
    }

    /// Returns the members: the first `size` registrations, or fewer while the cluster is not
    /// complete.
    pub fn cluster(&self) -> &[Registration] {
        &self.members[..self.size.min(self.members.len())]
    }

    /// Returns the peers of a complete cluster.
    ///
    /// # Errors
    /// For an entry without a usable peer URL, and in v2 for a name that is used twice: etcd gives
    /// up at these as well. Also for more peer URLs than are taken.
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

/// Writes how many are registered, for people: `2 of 3 members registered at http://...`.
impl std::fmt::Display for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let here = self.cluster().len();
        write!(f, "{here} of {} members registered at {}", self.size, self.place)
    }
}

/// Parses a size as etcd does: decimal digits only, and not zero.
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
            "http://r/t: the entry \"junk\\n\" cannot be used: not NAME=URL; delete it, or use another token"
        );
        assert_eq!(
            hosts(&registered(1, &["a=http://a"])).unwrap_err(),
            "http://r/t: the entry \"a=http://a\" cannot be used: not a URL of the form http://HOST:PORT or \
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
