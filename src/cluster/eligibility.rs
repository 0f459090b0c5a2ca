//! Decides which client URLs of a member list may get traffic, and why the others may not.
//!
//! URLs stay grouped by member: several URLs of one member lead to the same data, and one of them
//! may lead nowhere.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::member::{Member, MemberList, label};
use super::url::parse_listed;
use crate::net::self_address::is_own;

/// The `state` field of the log lines.
const LEFT_OUT: &str = "left out";
/// Most log lines for one list; the status shows all.
const MOST_LINES: usize = 20;

/// The members of a list, in its order, with a verdict on each client URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvaluatedMembers {
    /// All members, including those that get no traffic.
    pub members: Vec<EvaluatedMember>,
}

/// One member of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluatedMember {
    /// The member's ID.
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Whether it is a learner.
    pub learner: bool,
    /// Why the member gets no traffic, whatever its URLs; `None` when it may get some.
    pub left_out: Option<String>,
    /// Its client URLs, in the member's order.
    pub urls: Vec<EvaluatedUrl>,
}

/// One client URL of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluatedUrl {
    /// The URL as the member advertises it.
    pub url: String,
    /// Whether it says `https`.
    pub tls: bool,
    /// Its host, without brackets; empty when [`parse_listed`] refuses the URL.
    pub host: String,
    /// Its port; 0 when [`parse_listed`] refuses the URL.
    pub port: u16,
    /// Why this URL gets no traffic; `None` when it may get some.
    pub left_out: Option<String>,
}

impl EvaluatedMember {
    /// Returns the client URLs that may get traffic: none if the member is left out.
    pub fn usable_urls(&self) -> impl Iterator<Item = &EvaluatedUrl> {
        self.urls.iter().filter(|url| self.left_out.is_none() && url.left_out.is_none())
    }
}

impl EvaluatedMembers {
    /// Returns whether any member has a URL that may get traffic.
    pub fn has_usable(&self) -> bool {
        self.members.iter().any(|member| member.usable_urls().next().is_some())
    }

    /// Logs the members and URLs that are left out now, except those that were left out for the
    /// same reason in the list `before`.
    pub fn log_changes(&self, before: Option<&Self>) {
        let known: HashSet<_> = before.into_iter().flat_map(Self::left_out).collect();
        let mut new = self.left_out().filter(|line| !known.contains(line));
        for line in new.by_ref().take(MOST_LINES) {
            let Omission { member, url, reason } = line;
            match url {
                Some(url) => tracing::warn!(
                    state = LEFT_OUT,
                    member,
                    url,
                    reason,
                    "client URL gets no traffic"
                ),
                None => tracing::info!(state = LEFT_OUT, member, reason, "member gets no traffic"),
            }
        }
        let more = new.count();
        if more > 0 {
            tracing::warn!(
                state = LEFT_OUT,
                more,
                "more members and client URLs get no traffic; the status shows all"
            );
        }
    }

    fn left_out(&self) -> impl Iterator<Item = Omission<'_>> {
        self.members.iter().flat_map(|member| {
            let whole = member.left_out.as_deref().map(|reason| (None, reason));
            let urls = member.urls.iter().filter(move |_| whole.is_none());
            let urls =
                urls.filter_map(|url| Some((Some(url.url.as_str()), url.left_out.as_deref()?)));
            let label = label(member.id, &member.name);
            whole.into_iter().chain(urls).map(move |(url, reason)| Omission {
                member: label.clone(),
                url,
                reason,
            })
        })
    }
}

/// A member or one of its URLs that is left out.
#[derive(PartialEq, Eq, Hash)]
struct Omission<'a> {
    member: String,
    url: Option<&'a str>,
    reason: &'a str,
}

/// Evaluates every client URL of `list`. `listeners` are our own client listeners, with their real
/// ports.
///
/// Host names are looked up to find our own listeners among them, all at once and for at most 2 s,
/// so this belongs in a refresh and not in a request. It never fails: a list without usable URLs
/// holds the reasons.
pub async fn evaluate(list: &MemberList, listeners: &[SocketAddr]) -> EvaluatedMembers {
    let mut members: Vec<EvaluatedMember> = list.members.iter().map(evaluate_member).collect();
    let listeners: Arc<[SocketAddr]> = listeners.into();
    let mut looking = JoinSet::new();
    for (at, member) in members.iter().enumerate() {
        for (url_at, url) in
            member.urls.iter().enumerate().filter(|(_, url)| url.left_out.is_none())
        {
            let (listeners, host, port) = (Arc::clone(&listeners), url.host.clone(), url.port);
            looking.spawn(async move { (at, url_at, is_own(&listeners, &host, port).await) });
        }
    }
    while let Some(found) = looking.join_next().await {
        if let Ok((at, url_at, true)) = found {
            members[at].urls[url_at].left_out = Some("it is a listener of this proxy".to_owned());
        }
    }
    EvaluatedMembers { members }
}

fn evaluate_member(member: &Member) -> EvaluatedMember {
    let left_out = if member.is_learner {
        Some("learner".to_owned())
    } else if member.client_urls.is_empty() {
        Some("not started".to_owned())
    } else {
        None
    };
    EvaluatedMember {
        id: member.id,
        name: member.name.clone(),
        learner: member.is_learner,
        left_out,
        urls: member.client_urls.iter().map(|url| evaluate_url(url)).collect(),
    }
}

fn evaluate_url(url: &str) -> EvaluatedUrl {
    let (tls, host, port, left_out) = match parse_listed(url) {
        Ok(parsed) => (parsed.tls, parsed.host, parsed.port, None),
        Err(reason) => (false, String::new(), 0, Some(reason.to_string())),
    };
    EvaluatedUrl { url: url.to_owned(), tls, host, port, left_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn evaluated(json: &str, listeners: &[&str]) -> EvaluatedMembers {
        let list = MemberList::parse(1, json.as_bytes()).unwrap();
        let listeners: Vec<SocketAddr> =
            listeners.iter().map(|listener| listener.parse().unwrap()).collect();
        evaluate(&list, &listeners).await
    }

    fn usable(listed: &EvaluatedMembers) -> Vec<&str> {
        listed
            .members
            .iter()
            .flat_map(EvaluatedMember::usable_urls)
            .map(|url| url.url.as_str())
            .collect()
    }

    #[tokio::test]
    async fn all_urls_of_a_started_voter_are_usable() {
        let json = r#"[{"id":1,"name":"a","clientURLs":["http://10.0.0.1:2379","http://[fd00::1]:2379"]}]"#;
        let listed = evaluated(json, &["127.0.0.1:2379"]).await;
        assert_eq!(usable(&listed), ["http://10.0.0.1:2379", "http://[fd00::1]:2379"]);
        assert_eq!(
            (listed.members[0].urls[1].host.as_str(), listed.members[0].urls[1].port),
            ("fd00::1", 2379)
        );
    }

    #[tokio::test]
    async fn learners_and_members_that_have_not_started_are_left_out() {
        let json = r#"[{"id":1,"isLearner":true,"clientURLs":["http://10.0.0.1:2379"]},{"id":2}]"#;
        let listed = evaluated(json, &[]).await;
        assert!(usable(&listed).is_empty());
        assert_eq!(listed.members[0].left_out.as_deref(), Some("learner"));
        assert_eq!(listed.members[1].left_out.as_deref(), Some("not started"));
    }

    #[tokio::test]
    async fn one_unusable_url_does_not_cost_the_others() {
        let json = r#"[{"id":1,"clientURLs":["ftp://a:2379","unix:///run/etcd","bad","http://10.0.0.1:2379"]}]"#;
        let listed = evaluated(json, &[]).await;
        assert_eq!(usable(&listed), ["http://10.0.0.1:2379"]);
        let reasons: Vec<_> =
            listed.members[0].urls.iter().map(|url| url.left_out.as_deref()).collect();
        assert_eq!(reasons[0], Some("unknown scheme"));
        assert_eq!(reasons[1], Some("a unix socket is not reachable from another machine"));
        assert_eq!(reasons[2], Some("not a URL of the form http://HOST:PORT or https://HOST:PORT"));
    }

    #[tokio::test]
    async fn our_own_listeners_are_left_out() {
        let json = r#"[{"id":1,"clientURLs":["http://localhost:2379","http://127.0.0.1:22379"]},
            {"id":2,"clientURLs":["http://127.0.0.1:2379","http://0.0.0.0:2379"]}]"#;
        let listed = evaluated(json, &["127.0.0.1:2379"]).await;
        assert_eq!(usable(&listed), ["http://127.0.0.1:22379"]);
        let reasons = listed.members[1].urls.iter().map(|url| url.left_out.as_deref());
        assert_eq!(
            reasons.collect::<Vec<_>>(),
            [
                Some("it is a listener of this proxy"),
                Some("no listed member can have an unspecified address")
            ]
        );
    }

    #[tokio::test]
    async fn what_is_left_out_is_told_once_with_its_member() {
        let json = r#"[{"id":171,"clientURLs":["ftp://a:2379"]},{"id":2,"isLearner":true,"clientURLs":["bad"]}]"#;
        let listed = evaluated(json, &[]).await;
        let told: Vec<_> =
            listed.left_out().map(|line| (line.member, line.url, line.reason)).collect();
        assert_eq!(
            told,
            [
                ("2".to_owned(), None, "learner"),
                ("ab".to_owned(), Some("ftp://a:2379"), "unknown scheme"),
            ]
        );
    }
}
