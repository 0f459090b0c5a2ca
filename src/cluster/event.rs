//! Changes of state that are worth a log line, each logged once.

use std::path::PathBuf;

use super::fetch::FetchError;
use super::file::Ignored;
use super::member::{Member, MemberList, hex_id};
use crate::config::PeerUrl;

/// The `state` fields of the log lines.
const LIST: &str = "member list";
const FILE: &str = "cluster file";

/// A change of state that operators want to read about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterEvent {
    /// The member list has changed.
    List(ListChange),
    /// The cluster has changed, as the settings allow.
    Cluster {
        /// The previous cluster's ID.
        from: u64,
        /// The new cluster's ID.
        to: u64,
    },
    /// A peer was refused, because it is of another cluster or its list is too large.
    Foreign(PeerUrl, FetchError),
    /// No peer returned a list, for a new reason.
    Failing {
        /// What each peer answered.
        reason: String,
        /// Whether there is an older list to keep.
        have_list: bool,
    },
    /// A peer returned a list again.
    Recovered,
    /// Only the peers of the cluster file answer.
    FromFile(PathBuf),
    /// The cluster file is ignored.
    FileIgnored(PathBuf, String, FileFault),
    /// The cluster file cannot be written.
    FileUnwritable(PathBuf, String),
    /// The cluster file can be written again.
    FileWritable(PathBuf),
}

/// Whether an ignored cluster file needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFault {
    /// Ignoring it is intended.
    Expected,
    /// Something is wrong with it.
    Surprising,
}

impl ClusterEvent {
    /// Makes the event of a cluster file that is ignored.
    pub fn ignored(path: PathBuf, reason: &Ignored) -> Self {
        let fault = match reason {
            Ignored::OtherSource | Ignored::Foreign => FileFault::Expected,
            Ignored::Unreadable(_) | Ignored::Damaged => FileFault::Surprising,
        };
        Self::FileIgnored(path, reason.to_string(), fault)
    }

    /// Writes the log line.
    pub fn log(&self) {
        match self {
            Self::List(change) => change.log(),
            Self::Cluster { from, to } => tracing::warn!(
                state = "cluster",
                from = hex_id(*from),
                to = hex_id(*to),
                "serving another cluster than before, as the settings allow"
            ),
            Self::Foreign(peer, error) => tracing::error!(%peer, %error, "peer refused"),
            Self::Failing { reason, have_list: true } => {
                tracing::warn!(
                    state = LIST,
                    error = reason,
                    "no peer gives a member list, keeping the last one"
                );
            }
            Self::Failing { reason, have_list: false } => {
                tracing::warn!(state = LIST, error = reason, "no peer gives a member list yet");
            }
            Self::Recovered => tracing::info!(state = LIST, "a peer gives a member list again"),
            Self::FromFile(path) => {
                let path = path.display();
                tracing::warn!(%path, "no configured peer answers, asking the peers of the cluster file");
            }
            Self::FileIgnored(..) | Self::FileUnwritable(..) | Self::FileWritable(..) => {
                self.log_file()
            }
        }
    }

    fn log_file(&self) {
        match self {
            Self::FileIgnored(path, reason, FileFault::Expected) => {
                tracing::info!(path = %path.display(), reason, "the cluster file is not used");
            }
            Self::FileIgnored(path, reason, FileFault::Surprising) => {
                tracing::warn!(path = %path.display(), reason, "the cluster file is not used");
            }
            Self::FileUnwritable(path, error) => {
                tracing::warn!(state = FILE, path = %path.display(), error, "the cluster file cannot be written");
            }
            Self::FileWritable(path) => {
                tracing::info!(state = FILE, path = %path.display(), "the cluster file can be written again");
            }
            _ => {}
        }
    }
}

/// The members that came, went and changed, by name, or by ID if they have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListChange {
    /// The cluster's ID.
    pub cluster_id: u64,
    /// Members that were not listed before.
    pub came: Vec<String>,
    /// Members that are no longer listed.
    pub went: Vec<String>,
    /// Members whose name, URLs or role have changed.
    pub changed: Vec<String>,
}

impl ListChange {
    /// Compares two lists; without an earlier one, all members came.
    pub fn between(before: Option<&MemberList>, now: &MemberList) -> Self {
        let old = before.map_or(&[][..], |list| &list.members);
        let same_id =
            |members: &[Member], id| members.iter().find(|member| member.id == id).cloned();
        let labels = |members: &[Member], keep: &dyn Fn(&Member) -> bool| {
            members.iter().filter(|member| keep(member)).map(Member::label).collect()
        };
        Self {
            cluster_id: now.cluster_id,
            came: labels(&now.members, &|member| same_id(old, member.id).is_none()),
            went: labels(old, &|member| same_id(&now.members, member.id).is_none()),
            changed: labels(&now.members, &|member| {
                same_id(old, member.id).is_some_and(|old| old != *member)
            }),
        }
    }

    fn log(&self) {
        let names = |names: &[String]| (!names.is_empty()).then(|| names.join(","));
        tracing::info!(
            state = "members",
            cluster = hex_id(self.cluster_id),
            came = names(&self.came),
            went = names(&self.went),
            changed = names(&self.changed),
            "member list changed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> MemberList {
        MemberList::parse(1, json.as_bytes()).unwrap()
    }

    #[test]
    fn members_that_came_went_and_changed_are_named() {
        let before = list(r#"[{"id":1,"name":"a"},{"id":2,"name":"b"},{"id":3}]"#);
        let now = list(r#"[{"id":2,"name":"b"},{"id":3,"name":"c"},{"id":255}]"#);
        let change = ListChange::between(Some(&before), &now);
        assert_eq!(
            (change.came, change.went, change.changed),
            (vec!["ff".into()], vec!["a".into()], vec!["c".into()])
        );
    }

    #[test]
    fn at_first_all_members_came() {
        let change = ListChange::between(None, &list(r#"[{"id":1,"name":"a"}]"#));
        assert_eq!(change.came, ["a"]);
        assert!(change.went.is_empty() && change.changed.is_empty());
    }
}
