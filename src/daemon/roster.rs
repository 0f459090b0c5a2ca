//! The endpoints in force: made for new client URLs, kept for those that stay, let go for the rest.

use std::sync::Arc;

use http::uri::Scheme;

use crate::cluster::usable::{Listed, ListedUrl};
use crate::upstream::endpoint::Endpoint;

/// The endpoints of the newest generation.
#[derive(Debug, Default)]
pub struct Roster {
    endpoints: Vec<Arc<Endpoint>>,
    /// The cluster that the endpoints belong to.
    cluster: Option<u64>,
    workers: usize,
}

impl Roster {
    /// Makes an empty roster for so many workers.
    pub fn new(workers: usize) -> Self {
        Self { endpoints: Vec::new(), cluster: None, workers }
    }

    /// Returns the endpoints for `listed`, in the order in which they are preferred: members shuffled, the first URL
    /// of each before the second of any. What stays keeps its health, its counters and its connections, as long as it is
    /// to belong to the same `cluster`.
    pub fn plan(&self, listed: &Listed, cluster: u64) -> Vec<Arc<Endpoint>> {
        let mut members: Vec<_> =
            listed.members.iter().filter(|member| member.left_out.is_none()).collect();
        fastrand::shuffle(&mut members);
        let most = members.iter().map(|member| member.urls.len()).max().unwrap_or(0);
        let mut planned = Vec::new();
        for nth in 0..most {
            for member in &members {
                if let Some(url) = member.usable_urls().nth(nth) {
                    planned.extend(self.endpoint(cluster, member.id, &member.name, url));
                }
            }
        }
        planned
    }

    /// Puts a plan into force: who is not in it is not listed any more.
    pub fn commit(&mut self, planned: &[Arc<Endpoint>], cluster: Option<u64>) {
        for old in &self.endpoints {
            old.set_listed(planned.iter().any(|new| Arc::ptr_eq(old, new)));
        }
        self.endpoints = planned.to_vec();
        self.cluster = cluster;
    }

    /// The ID of the cluster that the endpoints belong to, once there are any.
    pub fn cluster(&self) -> Option<u64> {
        self.cluster
    }

    /// The endpoints in force.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    fn endpoint(
        &self,
        cluster: u64,
        id: u64,
        name: &str,
        url: &ListedUrl,
    ) -> Option<Arc<Endpoint>> {
        let same = |old: &&Arc<Endpoint>| {
            old.proofs().cluster() == cluster
                && old.member_id == id
                && old.url == url.url
                && old.member == name
        };
        if let Some(old) = self.endpoints.iter().find(same) {
            return Some(old.clone());
        }
        let scheme = if url.tls { Scheme::HTTPS } else { Scheme::HTTP };
        Endpoint::new(&url.url, cluster, name, id, scheme, &url.host, url.port, self.workers)
            .inspect_err(
                |error| tracing::warn!(url = %url.url, %error, "client URL cannot be used"),
            )
            .ok()
            .map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::usable::ListedMember;

    fn listed(members: &[(u64, &[&str])]) -> Listed {
        let url = |text: &&str| ListedUrl {
            url: (*text).into(),
            tls: text.starts_with("https"),
            host: "127.0.0.1".into(),
            port: text.rsplit(':').next().unwrap().parse().unwrap(),
            left_out: None,
        };
        let member = |(id, urls): &(u64, &[&str])| ListedMember {
            id: *id,
            name: format!("infra{id}"),
            learner: false,
            left_out: None,
            urls: urls.iter().map(url).collect(),
        };
        Listed { members: members.iter().map(member).collect() }
    }

    #[test]
    fn an_endpoint_that_stays_listed_keeps_its_state() {
        let mut roster = Roster::new(1);
        let before = roster.plan(&listed(&[(1, &["http://a:1"]), (2, &["http://a:2"])]), 1);
        roster.commit(&before, Some(1));
        let after = roster.plan(&listed(&[(2, &["http://a:2"]), (3, &["http://a:3"])]), 1);
        roster.commit(&after, Some(1));
        let stayed = before.iter().find(|endpoint| endpoint.member_id == 2).unwrap();
        assert!(after.iter().any(|endpoint| Arc::ptr_eq(endpoint, stayed)) && stayed.is_listed());
        let left = before.iter().find(|endpoint| endpoint.member_id == 1).unwrap();
        assert!(!left.is_listed());
    }

    #[test]
    fn an_endpoint_of_another_cluster_is_another_one() {
        let mut roster = Roster::new(1);
        let before = roster.plan(&listed(&[(1, &["http://a:1"])]), 1);
        roster.commit(&before, Some(1));
        let after = roster.plan(&listed(&[(1, &["http://a:1"])]), 2);
        assert!(!Arc::ptr_eq(&before[0], &after[0]));
        assert_eq!(after[0].proofs().cluster(), 2);
    }

    #[test]
    fn second_urls_come_after_the_first_of_every_member() {
        let roster = Roster::new(1);
        let members: &[(u64, &[&str])] =
            &[(1, &["http://a:1", "http://a:11"]), (2, &["http://a:2", "http://a:12"])];
        let plan = roster.plan(&listed(members), 1);
        let ports: Vec<u16> = plan.iter().map(|endpoint| endpoint.port).collect();
        assert!(
            ports[..2].iter().all(|port| *port < 10) && ports[2..].iter().all(|port| *port > 10),
            "{ports:?}"
        );
    }
}
