//! The peers named by a domain's SRV records, read as etcd 3.5 and later do.
//!
//! `_etcd-server-ssl._tcp.DOMAIN` names the peers that use TLS, `_etcd-server._tcp.DOMAIN` the
//! others. Both count, the first before the second, each by priority and weight (RFC 2782). A
//! target that does not resolve is left out. When a lookup fails, the result of the previous one
//! stays.

mod query;
mod resolv_conf;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use self::query::Srv;
use self::resolv_conf::ResolvConf;
use super::url::parse_listed;
use crate::config::{PeerUrl, SrvDomain};
use crate::net::lookup;

/// The service names, and the scheme for each.
const SERVICES: [(&str, &str); 2] = [("etcd-server-ssl", "https"), ("etcd-server", "http")];

/// Limit for one lookup, including the resolver's retries.
const LIMIT: Duration = Duration::from_secs(15);

/// The bounds on the time until the next lookup; a shorter or longer time to live is cut to these.
const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));

/// Most targets that are used: more than any cluster has members.
const MOST: usize = 128;

/// The last known records of a domain.
#[derive(Debug, Clone, Default)]
pub struct Records {
    services: [Vec<Target>; 2],
}

/// The result of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// The time until the next lookup.
    pub ttl: Duration,
    /// Whether the records have changed.
    pub changed: bool,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    peer: PeerUrl,
    priority: u16,
    weight: u16,
}

/// Why the DNS gave no peers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SrvError {
    /// There are no such records.
    #[error("the DNS has neither {0} nor {1}; is `discovery-srv` the right domain?")]
    NoRecords(String, String),
    /// The lookup failed.
    #[error("cannot look up {0}: {1}")]
    Failed(String, String),
    /// There are records, but none of their targets can be used.
    #[error("none of the SRV records of {0} can be used: {1}")]
    NoTargets(String, String),
}

impl Records {
    /// Looks up both names. On an error the known records stay.
    pub async fn look_up(&mut self, srv: &SrvDomain) -> Result<Looked, SrvError> {
        let [tls, plain] = SERVICES.map(|(service, _)| srv.record(service));
        let (tls_answer, plain_answer) = tokio::join!(records(&tls), records(&plain));
        let mut new = self.clone();
        let (mut ttl, mut useless, mut failure) = (TTL.1, Vec::new(), None);
        for (index, (name, answer)) in
            [(&tls, tls_answer), (&plain, plain_answer)].into_iter().enumerate()
        {
            match answer {
                Ok(answer) => {
                    ttl = ttl.min(answer.ttl);
                    let (targets, bad) = resolved(answer.records, SERVICES[index].1).await;
                    new.services[index] = targets;
                    useless.extend(bad);
                }
                Err(reason) => {
                    let failed = SrvError::Failed(name.clone(), reason);
                    if !self.services[index].is_empty() {
                        return Err(failed);
                    }
                    failure = Some(failed);
                }
            }
        }
        if new.services.iter().all(Vec::is_empty) {
            return Err(match failure {
                Some(failure) => failure,
                None if useless.is_empty() => SrvError::NoRecords(tls, plain),
                None => SrvError::NoTargets(srv.domain.clone(), useless.join(", ")),
            });
        }
        if let Some(failure) = failure {
            tracing::debug!("{failure}, and the other has records");
        }
        for target in useless {
            tracing::debug!(domain = srv.domain, "SRV target left out: {target}");
        }
        let changed = self.services != new.services;
        *self = new;
        Ok(Looked { ttl: ttl.max(TTL.0), changed })
    }

    /// Returns the peers in the order in which to ask them: by priority, and within one priority at
    /// random, in favour of higher weights.
    pub fn in_order(&self) -> Vec<PeerUrl> {
        let mut peers = Vec::new();
        for service in &self.services {
            for target in shuffled(service) {
                if !peers.contains(&target.peer) {
                    peers.push(target.peer);
                }
            }
        }
        peers
    }
}

fn shuffled(targets: &[Target]) -> Vec<Target> {
    let mut waiting = targets.to_vec();
    waiting.sort_by_key(|target| target.priority);
    let mut ordered = Vec::new();
    while let Some(first) = waiting.first() {
        let equals = waiting.iter().take_while(|target| target.priority == first.priority).count();
        ordered.push(waiting.remove(drawn(&waiting[..equals])));
    }
    ordered
}

/// Draws one of these at random, with a chance proportional to its weight; a weight of zero has a
/// small one.
fn drawn(targets: &[Target]) -> usize {
    // At most 128 weights of 16 bits, times 100, stay far below 64 bits.
    let chance = |target: &Target| u64::from(target.weight) * 100 + 1;
    let mut ball = fastrand::u64(..targets.iter().map(chance).sum::<u64>().max(1));
    for (index, target) in targets.iter().enumerate() {
        if ball < chance(target) {
            return index;
        }
        ball -= chance(target);
    }
    0
}

/// The DNS answer for one name.
struct Answer {
    /// Empty when there is no such record.
    records: Vec<Srv>,
    ttl: Duration,
}

async fn records(name: &str) -> Result<Answer, String> {
    let looking = async {
        // Read each time, so that a changed resolv.conf takes effect.
        let conf = ResolvConf::read().await.map_err(|error| error.to_string())?;
        query::srv(&conf, name).await
    };
    let looked = timeout(LIMIT, looking).await;
    let answer = looked.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")))?;
    let mut records = answer.records;
    if records.len() > MOST {
        records.sort_by_key(|record| record.priority);
        let left_out = records.split_off(MOST).len();
        tracing::warn!(name, left_out, "more SRV records than any cluster has members");
    }
    Ok(Answer { records, ttl: answer.ttl.unwrap_or(TTL.1).min(TTL.1) })
}

/// Returns the targets that resolve and can be used, and for each of the others why not.
async fn resolved(records: Vec<Srv>, scheme: &str) -> (Vec<Target>, Vec<String>) {
    let (mut targets, mut useless) = (Vec::new(), Vec::new());
    let mut looking = JoinSet::new();
    for Srv { host, port, priority, weight } in records {
        match parse_listed(&format!("{scheme}://{host}:{port}")) {
            Ok(peer) => {
                let target = Target { peer, priority, weight };
                looking.spawn(async move { (resolves(&target.peer).await, target) });
            }
            Err(reason) => useless.push(format!("{host}:{port}: {reason}")),
        }
    }
    while let Some(looked) = looking.join_next().await {
        match looked {
            Ok((true, target)) => targets.push(target),
            Ok((false, target)) => useless.push(format!("{} does not resolve", target.peer.host)),
            // A lookup does not panic, and only dropping the set cancels one.
            Err(_) => {}
        }
    }
    // The order of records in an answer has no meaning.
    targets.sort();
    useless.sort();
    (targets, useless)
}

async fn resolves(peer: &PeerUrl) -> bool {
    peer.host.parse::<std::net::IpAddr>().is_ok() || lookup::addresses(&peer.host).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, priority: u16, weight: u16) -> Target {
        Target { peer: parse_listed(&format!("http://{host}:2380")).unwrap(), priority, weight }
    }

    fn hosts(targets: &[Target]) -> Vec<&str> {
        targets.iter().map(|target| target.peer.host.as_str()).collect()
    }

    #[test]
    fn a_lower_priority_is_asked_first() {
        let targets = [target("c", 20, 9), target("a", 1, 0), target("b", 10, 0)];
        for _ in 0..50 {
            assert_eq!(hosts(&shuffled(&targets)), ["a", "b", "c"]);
        }
    }

    #[test]
    fn among_equals_the_heavier_comes_first_more_often() {
        let targets = [target("light", 0, 10), target("heavy", 0, 90), target("zero", 0, 0)];
        let mut first = std::collections::HashMap::new();
        for _ in 0..2000 {
            *first.entry(hosts(&shuffled(&targets))[0].to_owned()).or_insert(0) += 1;
        }
        assert!(first["heavy"] > 1600 && first["light"] > 100, "{first:?}");
        assert!(first.get("zero").is_none_or(|zero| *zero < 20), "{first:?}");
    }

    #[test]
    fn one_peer_is_named_once() {
        let records = Records { services: [vec![target("a", 0, 0)], vec![target("a", 1, 1)]] };
        assert_eq!(records.in_order().len(), 1);
    }

    #[tokio::test]
    async fn targets_that_lead_nowhere_are_left_out() {
        let record = |host: &str| Srv { host: host.into(), port: 2380, priority: 0, weight: 0 };
        let records = ["127.0.0.1", "169.254.169.254", "etcd.invalid", ""].map(record).into();
        let (targets, useless) = resolved(records, "http").await;
        assert_eq!(hosts(&targets), ["127.0.0.1"]);
        assert_eq!(useless.len(), 3);
    }
}
