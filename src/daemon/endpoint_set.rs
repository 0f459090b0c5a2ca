//! The endpoints in force: created for new client URLs, kept for those that stay, dropped for the
//! rest.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::uri::Scheme;

use crate::cluster::eligibility::{EvaluatedMember, EvaluatedMembers, EvaluatedUrl};
use crate::upstream::endpoint::Endpoint;

/// Endpoints by member ID and URL.
type Known<'a> = HashMap<(u64, &'a str), &'a Arc<Endpoint>>;

/// The endpoints of the newest generation.
#[derive(Debug, Default)]
pub struct EndpointSet {
    endpoints: Arc<[Arc<Endpoint>]>,
    /// The cluster that the endpoints belong to.
    cluster: Option<u64>,
    workers: usize,
}

impl EndpointSet {
    /// Makes an empty endpoint set for this number of workers.
    pub fn new(workers: usize) -> Self {
        Self { endpoints: Arc::default(), cluster: None, workers }
    }

    /// Returns the endpoints for `listed`, in order of preference: members shuffled, the first URL
    /// of each member before the second of any, and healthy ones before others. An endpoint that
    /// stays keeps its health, its counters and its connections, provided that `cluster` is the
    /// same.
    pub fn plan(&self, listed: &EvaluatedMembers, cluster: u64) -> Vec<Arc<Endpoint>> {
        let of_cluster = |old: &&Arc<Endpoint>| old.proofs().cluster() == cluster;
        let known = self.endpoints.iter().filter(of_cluster);
        let known: Known<'_> = known.map(|old| ((old.member_id, &*old.url), old)).collect();
        let mut urls: Vec<_> = listed
            .members
            .iter()
            .filter(|member| member.left_out.is_none())
            .map(|member| (member, member.usable_urls()))
            .collect();
        fastrand::shuffle(&mut urls);
        let (mut planned, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let mut is_over = true;
            for (member, urls) in &mut urls {
                let Some(url) = urls.next() else { continue };
                is_over = false;
                // A member that lists a URL twice has one endpoint for it.
                if seen.insert((member.id, &*url.url)) {
                    planned.extend(self.endpoint(&known, cluster, member, url));
                }
            }
            if is_over {
                break;
            }
        }
        // A request considers only the first endpoints of a long list.
        planned.sort_by_key(|endpoint| (!endpoint.is_healthy(), !endpoint.is_trusted()));
        planned
    }

    /// Applies a plan: endpoints that are not in it are no longer listed.
    pub fn commit(&mut self, planned: &[Arc<Endpoint>], cluster: Option<u64>) {
        let stays: HashSet<*const Endpoint> = planned.iter().map(Arc::as_ptr).collect();
        for old in self.endpoints.iter() {
            old.set_listed(stays.contains(&Arc::as_ptr(old)));
        }
        self.endpoints = planned.into();
        self.cluster = cluster;
    }

    /// Returns the ID of the cluster that the endpoints belong to, once there are any.
    pub fn cluster(&self) -> Option<u64> {
        self.cluster
    }

    /// Returns the endpoints in force.
    pub fn endpoints(&self) -> &Arc<[Arc<Endpoint>]> {
        &self.endpoints
    }

    fn endpoint(
        &self,
        known: &Known<'_>,
        cluster: u64,
        member: &EvaluatedMember,
        url: &EvaluatedUrl,
    ) -> Option<Arc<Endpoint>> {
        let (id, name) = (member.id, member.name.as_str());
        let old = known.get(&(id, &*url.url)).filter(|old| old.member == name);
        if let Some(old) = old {
            return Some(Arc::clone(old));
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
    use crate::cluster::eligibility::EvaluatedMember;

    fn listed(members: &[(u64, &[&str])]) -> EvaluatedMembers {
        let url = |text: &&str| EvaluatedUrl {
            url: (*text).into(),
            tls: text.starts_with("https"),
            host: "127.0.0.1".into(),
            port: text.rsplit(':').next().unwrap().parse().unwrap(),
            left_out: None,
        };
        let member = |(id, urls): &(u64, &[&str])| EvaluatedMember {
            id: *id,
            name: format!("infra{id}"),
            learner: false,
            left_out: None,
            urls: urls.iter().map(url).collect(),
        };
        EvaluatedMembers { members: members.iter().map(member).collect() }
    }

    #[test]
    fn an_endpoint_that_stays_listed_keeps_its_state() {
        let mut endpoint_set = EndpointSet::new(1);
        let before = endpoint_set.plan(&listed(&[(1, &["http://a:1"]), (2, &["http://a:2"])]), 1);
        endpoint_set.commit(&before, Some(1));
        let after = endpoint_set.plan(&listed(&[(2, &["http://a:2"]), (3, &["http://a:3"])]), 1);
        endpoint_set.commit(&after, Some(1));
        let stayed = before.iter().find(|endpoint| endpoint.member_id == 2).unwrap();
        assert!(after.iter().any(|endpoint| Arc::ptr_eq(endpoint, stayed)) && stayed.is_listed());
        let left = before.iter().find(|endpoint| endpoint.member_id == 1).unwrap();
        assert!(!left.is_listed());
    }

    #[test]
    fn an_endpoint_of_another_cluster_is_another_one() {
        let mut endpoint_set = EndpointSet::new(1);
        let before = endpoint_set.plan(&listed(&[(1, &["http://a:1"])]), 1);
        endpoint_set.commit(&before, Some(1));
        let after = endpoint_set.plan(&listed(&[(1, &["http://a:1"])]), 2);
        assert!(!Arc::ptr_eq(&before[0], &after[0]));
        assert_eq!(after[0].proofs().cluster(), 2);
    }

    #[test]
    fn who_can_serve_comes_first() {
        let mut endpoint_set = EndpointSet::new(1);
        let all = listed(&[(1, &["http://a:1"]), (2, &["http://a:2"]), (3, &["http://a:3"])]);
        let before = endpoint_set.plan(&all, 1);
        endpoint_set.commit(&before, Some(1));
        let of = |id| before.iter().find(|endpoint| endpoint.member_id == id).unwrap();
        of(1).mark_failed("connection refused", std::time::Duration::from_secs(60));
        of(3).mark_proved();
        for _ in 0..20 {
            let plan = endpoint_set.plan(&all, 1);
            let ids: Vec<u64> = plan.iter().map(|endpoint| endpoint.member_id).collect();
            assert_eq!(ids, [3, 2, 1]);
        }
    }

    #[test]
    fn second_urls_come_after_the_first_of_every_member() {
        let endpoint_set = EndpointSet::new(1);
        let members: &[(u64, &[&str])] =
            &[(1, &["http://a:1", "http://a:11"]), (2, &["http://a:2", "http://a:12"])];
        let plan = endpoint_set.plan(&listed(members), 1);
        let ports: Vec<u16> = plan.iter().map(|endpoint| endpoint.port).collect();
        assert!(
            ports[..2].iter().all(|port| *port < 10) && ports[2..].iter().all(|port| *port > 10),
            "{ports:?}"
        );
    }
}
