//! The member list of a cluster, as a peer tells it in answer to `GET /members`.
//!
//! Everything in it came from the network: names and URLs may hold anything and are only shown escaped.

use serde::Deserialize;

/// Who is in the cluster. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberList {
    /// The cluster's ID, from the `X-Etcd-Cluster-ID` header.
    pub cluster_id: u64,
    /// The members, sorted by ID, each ID once.
    pub members: Vec<Member>,
}

/// One member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The member's ID, up to 2^64-1.
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
    /// Its client URLs; empty until it has started.
    pub client_urls: Vec<String>,
    /// Whether it is a learner: not a voter yet, and refusing almost everything.
    pub is_learner: bool,
}

impl MemberList {
    /// Reads the JSON array that a peer answers with.
    pub fn parse(cluster_id: u64, json: &[u8]) -> Result<Self, ListError> {
        let wire: Vec<WireMember> = serde_json::from_slice(json)?;
        let mut members: Vec<Member> = wire.into_iter().map(Member::from).collect();
        members.sort_by_key(|member| member.id);
        if members.is_empty() {
            return Err(ListError::Empty);
        }
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(ListError::Twice(pair[0].id));
        }
        Ok(Self { cluster_id, members })
    }

    /// All peer URLs of all members, sorted and each once, as etcd writes them to its cluster file.
    pub fn peer_urls(&self) -> Vec<String> {
        let mut urls: Vec<String> =
            self.members.iter().flat_map(|member| member.peer_urls.clone()).collect();
        urls.sort();
        urls.dedup();
        urls
    }
}

impl Member {
    /// The ID as etcd and its tools write it: lowercase hexadecimal without padding.
    pub fn hex_id(&self) -> String {
        hex_id(self.id)
    }

    /// What people call the member: its name, or its ID in hexadecimal while it has none.
    pub fn label(&self) -> String {
        label(self.id, &self.name)
    }
}

/// What people call a member, safe to print: its name, or its ID in hexadecimal while it has none.
pub fn label(id: u64, name: &str) -> String {
    if name.is_empty() { hex_id(id) } else { name.escape_debug().to_string() }
}

/// Writes a member or cluster ID as etcd does: lowercase hexadecimal without padding.
pub fn hex_id(id: u64) -> String {
    format!("{id:x}")
}

/// Why an answer is not a member list. Says nothing of the answer's content, which may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not JSON, or cut short.
    #[error("not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the first mistake.
        line: usize,
        /// Column of the first mistake.
        column: usize,
    },
    /// JSON, but no array of members.
    #[error("JSON of another shape (line {line}, column {column})")]
    OtherShape {
        /// Line of the first surprise.
        line: usize,
        /// Column of the first surprise.
        column: usize,
    },
    /// An array of nothing.
    #[error("an empty list")]
    Empty,
    /// The same ID twice.
    #[error("member {0:x} is in it twice")]
    Twice(u64),
}

impl From<serde_json::Error> for ListError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        if error.is_data() {
            Self::OtherShape { line, column }
        } else {
            Self::NotJson { line, column }
        }
    }
}

/// A member on the wire. Go leaves out what is empty, and writes `null` for a list that was never made.
#[derive(Deserialize)]
struct WireMember {
    id: u64,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Option<Vec<String>>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Option<Vec<String>>,
    #[serde(default, rename = "isLearner")]
    is_learner: Option<bool>,
}

impl From<WireMember> for Member {
    fn from(wire: WireMember) -> Self {
        Self {
            id: wire.id,
            name: wire.name.unwrap_or_default(),
            peer_urls: wire.peer_urls.unwrap_or_default(),
            client_urls: wire.client_urls.unwrap_or_default(),
            is_learner: wire.is_learner.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<MemberList, ListError> {
        MemberList::parse(0xcdf8, json.as_bytes())
    }

    #[test]
    fn the_largest_id_is_read_exactly() {
        let list = parse(r#"[{"id":18446744073709551615,"peerURLs":["http://a:2380"]}]"#).unwrap();
        assert_eq!(list.members[0].id, u64::MAX);
        assert_eq!(list.members[0].hex_id(), "ffffffffffffffff");
    }

    #[test]
    fn members_are_sorted_by_id() {
        let list =
            parse(r#"[{"id":3,"name":"c"},{"id":1,"name":"a"},{"id":2,"name":"b"}]"#).unwrap();
        let names: Vec<&str> = list.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn what_go_leaves_out_or_writes_as_null_is_empty() {
        let list = parse(r#"[{"id":1,"peerURLs":null}]"#).unwrap();
        let member = &list.members[0];
        assert!(
            member.name.is_empty() && member.peer_urls.is_empty() && member.client_urls.is_empty()
        );
        assert!(!member.is_learner);
        assert_eq!(member.label(), "1");
    }

    #[test]
    fn unknown_fields_are_left_to_newer_members() {
        let list = parse(r#"[{"id":1,"isLearner":true,"raftAttributes":{"x":1}}]"#).unwrap();
        assert!(list.members[0].is_learner);
    }

    #[test]
    fn peer_urls_are_sorted_and_listed_once() {
        let list = parse(
            r#"[{"id":1,"peerURLs":["http://b:1","http://a:1"]},{"id":2,"peerURLs":["http://a:1"]}]"#,
        );
        assert_eq!(list.unwrap().peer_urls(), ["http://a:1", "http://b:1"]);
    }

    #[test]
    fn what_is_not_a_member_list_says_what_it_is() {
        let said = |json| parse(json).unwrap_err().to_string();
        assert_eq!(said("[]"), "an empty list");
        assert_eq!(said("<html>"), "not JSON (line 1, column 1)");
        assert_eq!(said(r#"[{"id":1"#), "not JSON (line 1, column 8)");
        assert_eq!(said(r#"{"members":[]}"#), "JSON of another shape (line 1, column 0)");
        assert_eq!(said(r#"[{"id":-1}]"#), "JSON of another shape (line 1, column 9)");
        assert_eq!(said(r#"[{"id":171},{"id":171}]"#), "member ab is in it twice");
    }

    #[test]
    fn a_name_cannot_break_a_log_line() {
        let list = parse(r#"[{"id":1,"name":"a\nb"}]"#).unwrap();
        assert_eq!(list.members[0].label(), "a\\nb");
    }
}
