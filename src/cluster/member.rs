//! The member list of a cluster, as a peer returns it for `GET /members`.
//!
//! Everything in it came from the network: names and URLs may hold anything and are only shown
//! escaped.

use serde::Deserialize;

/// Most members of a list that is accepted. etcd advises against more than seven, and each costs a
/// prober here.
pub const MOST_MEMBERS: usize = 128;
/// Most peer URLs, and most client URLs, of one member.
pub const MOST_URLS: usize = 16;
/// Longest name and longest URL, in bytes. A host name has at most 255, and a socket's path 108.
const LONGEST: usize = 1024;

/// The members of a cluster. Never empty.
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
    /// Whether it is a learner, which does not vote yet and refuses almost all requests.
    pub is_learner: bool,
}

impl MemberList {
    /// Parses the JSON array that a peer answers with.
    pub fn parse(cluster_id: u64, json: &[u8]) -> Result<Self, ListError> {
        let wire: Vec<WireMember> = serde_json::from_slice(json)?;
        let mut members: Vec<Member> = wire.into_iter().map(Member::from).collect();
        members.sort_by_key(|member| member.id);
        if members.is_empty() {
            return Err(ListError::Empty);
        }
        if members.len() > MOST_MEMBERS {
            return Err(ListError::TooManyMembers(members.len()));
        }
        members.iter().try_for_each(Member::check)?;
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(ListError::Twice(pair[0].id));
        }
        Ok(Self { cluster_id, members })
    }

    /// Returns all peer URLs of all members, sorted and each once, as etcd writes them to its
    /// cluster file.
    pub fn peer_urls(&self) -> Vec<String> {
        let mut urls: Vec<String> =
            self.members.iter().flat_map(|member| member.peer_urls.clone()).collect();
        urls.sort();
        urls.dedup();
        urls
    }
}

impl Member {
    /// Returns the ID as etcd and its tools write it: lowercase hexadecimal without padding.
    pub fn hex_id(&self) -> String {
        hex_id(self.id)
    }

    /// Refuses sizes that no etcd sends, because everything in a list is kept, shown and tried.
    fn check(&self) -> Result<(), ListError> {
        let urls = self.peer_urls.len().max(self.client_urls.len());
        let texts = [&self.name].into_iter().chain(&self.peer_urls).chain(&self.client_urls);
        let longest = texts.map(String::len).max().unwrap_or(0);
        match (urls, longest) {
            (urls, _) if urls > MOST_URLS => Err(ListError::TooManyUrls(self.id, urls)),
            (_, longest) if longest > LONGEST => Err(ListError::TooLong(self.id, longest)),
            _ => Ok(()),
        }
    }

    /// Returns the member's name in messages: its own, or its ID in hexadecimal when it has none.
    pub fn label(&self) -> String {
        label(self.id, &self.name)
    }
}

/// Returns a member's name in messages, safe to print: its own, escaped, or its ID in hexadecimal
/// when it has none.
pub fn label(id: u64, name: &str) -> String {
    if name.is_empty() { hex_id(id) } else { name.escape_debug().to_string() }
}

/// Formats a member or cluster ID as etcd does: lowercase hexadecimal without padding.
pub fn hex_id(id: u64) -> String {
    format!("{id:x}")
}

/// Why an answer is not a member list. It repeats nothing of the answer's content, which may be
/// anything.
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
    /// JSON, but not an array of members.
    #[error("JSON of another shape (line {line}, column {column})")]
    OtherShape {
        /// Line of the first mismatch.
        line: usize,
        /// Column of the first mismatch.
        column: usize,
    },
    /// An empty array.
    #[error("an empty list")]
    Empty,
    /// More members than are accepted.
    #[error("it has {0} members; at most {MOST_MEMBERS} are accepted")]
    TooManyMembers(usize),
    /// A member with more URLs than are accepted.
    #[error("member {0:x} has {1} URLs; at most {MOST_URLS} are accepted")]
    TooManyUrls(u64, usize),
    /// A member with a longer name or URL than is accepted.
    #[error("member {0:x} has a name or URL of {1} bytes; at most {LONGEST} are accepted")]
    TooLong(u64, usize),
    /// The same ID twice.
    #[error("member {0:x} is in it twice")]
    Twice(u64),
}

impl ListError {
    /// Returns whether this is a list that exceeds the limits.
    pub fn is_too_much(self) -> bool {
        matches!(self, Self::TooManyMembers(_) | Self::TooManyUrls(..) | Self::TooLong(..))
    }
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

/// A member on the wire. Go omits empty fields, and writes `null` for a list that was never
/// created.
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

    /// A list with this number of members, with this number of client URLs each, and names of this
    /// length.
    fn list(members: usize, urls: usize, length: usize) -> String {
        let url = |n: usize| format!("\"http://10.0.0.1:{n}\"");
        let urls = (1..=urls).map(url).collect::<Vec<_>>().join(",");
        let name = "n".repeat(length);
        let member = |id| format!("{{\"id\":{id},\"name\":\"{name}\",\"clientURLs\":[{urls}]}}");
        format!("[{}]", (1..=members).map(member).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn a_list_has_bounds_that_no_cluster_comes_near() {
        let error = |members, urls, length| match parse(&list(members, urls, length)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(error(MOST_MEMBERS, MOST_URLS, LONGEST), "");
        assert_eq!(error(2000, 1, 1), "it has 2000 members; at most 128 are accepted");
        assert_eq!(error(1, 17, 1), "member 1 has 17 URLs; at most 16 are accepted");
        assert_eq!(
            error(1, 1, 1025),
            "member 1 has a name or URL of 1025 bytes; at most 1024 are accepted"
        );
        let peer_urls = format!("[{{\"id\":1,\"peerURLs\":[\"{}\"]}}]", "u".repeat(1025));
        assert!(matches!(parse(&peer_urls), Err(ListError::TooLong(1, 1025))));
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
