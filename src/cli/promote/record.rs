//! The progress of a promotion, kept in `<data-dir>/promotion.json` from before the first step to
//! after the last.
//!
//! A second run reads it and continues. It is first written before the member is added, so that a
//! member whose addition was never answered is recognized as ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic_file::{self, Ownership};
use crate::cluster::member::MemberList;

/// The state of one promotion.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PromotionRecord {
    /// The member's name.
    pub(super) name: String,
    /// Its peer URLs.
    pub(super) peer_urls: Vec<String>,
    /// Whether it joins as a learner.
    pub(super) learner: bool,
    /// Client URLs of the earlier members.
    pub(super) endpoints: Vec<String>,
    /// Units that start the proxy's unit, and are stopped with it.
    pub(super) triggers: Vec<String>,
    /// The member, once it is known to have been added.
    pub(super) added: Option<Membership>,
    /// The backup of etcd's environment file; `None` before the file is replaced, or if there was
    /// none.
    pub(super) backup: Option<PathBuf>,
    /// Number of completed steps.
    pub(super) done: usize,
}

/// A member as the cluster confirmed it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Membership {
    /// Its ID.
    pub(super) id: u64,
    /// The cluster's ID.
    pub(super) cluster_id: u64,
    /// `NAME=URL,...` of all members.
    pub(super) initial_cluster: String,
}

impl Membership {
    /// Builds `initial_cluster` like etcdctl: the members in the cluster's order, the new one with
    /// its new name.
    pub(super) fn new(id: u64, name: &str, list: &MemberList) -> Self {
        let mut entries = Vec::new();
        for member in &list.members {
            let name = if member.id == id { name } else { &member.name };
            entries.extend(member.peer_urls.iter().map(|url| format!("{name}={url}")));
        }
        Self { id, cluster_id: list.cluster_id, initial_cluster: entries.join(",") }
    }
}

/// Returns the path of the record.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("promotion.json")
}

/// Reads the record; `None` when there is none.
///
/// # Errors
/// When there is one that cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<PromotionRecord>, String> {
    let broken = |error: &dyn std::fmt::Display| {
        format!("cannot read {}, the record of an earlier run: {error}", path.display())
    };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| broken(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(&error)),
    }
}

/// Writes the record durably, so that it survives a power cut.
pub(super) fn write(path: &Path, record: &PromotionRecord) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    // Replaced without following links: this runs as root, and the directory belongs to another
    // user.
    atomic_file::replace(path, &serde_json::to_vec_pretty(record)?, Ownership::ours(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::member::Member;

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(&directory.path().join("not/there/yet"));
        assert_eq!(read(&path), Ok(None));
        let added = Membership { id: u64::MAX, ..Membership::default() };
        let record = PromotionRecord {
            name: "m".to_owned(),
            added: Some(added),
            done: 2,
            ..PromotionRecord::default()
        };
        write(&path, &record).unwrap();
        assert_eq!(read(&path), Ok(Some(record)));
        fs::write(&path, "{").unwrap();
        assert!(read(&path).unwrap_err().contains("promotion.json, the record of an earlier run"));
    }

    #[test]
    fn the_initial_cluster_is_etcdctls() {
        let member = |id, name: &str, urls: &[&str]| Member {
            id,
            name: name.to_owned(),
            peer_urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            client_urls: Vec::new(),
            is_learner: false,
        };
        let members =
            vec![member(9, "", &["http://n:1", "http://n:2"]), member(1, "a", &["http://a:1"])];
        let membership = Membership::new(9, "new", &MemberList { cluster_id: 7, members });
        assert_eq!(membership.initial_cluster, "new=http://n:1,new=http://n:2,a=http://a:1");
    }
}
