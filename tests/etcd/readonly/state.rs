//! Everything in a cluster that a client could change, read from the member itself.

use crate::support::cluster::Cluster;
use crate::support::grpc::Channel;
use crate::support::rpc::{
    self, KeyValue, LeaseGrantRequest, LeaseRequest, LeaseResponse, RangeRequest, RangeResponse,
};
use crate::support::{PATIENCE, eventually, http1, run};

/// The ID of a lease that exists, with a TTL of 5,000 seconds.
pub const LEASE: i64 = 0x1234;
const LEASE_TTL: i64 = 5_000;

/// A snapshot of a cluster's state.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    revision: i64,
    keys: Vec<String>,
    lists: Vec<String>,
    lease_left: i64,
    v2: String,
}

impl State {
    /// Reads the state of a cluster of one member.
    pub fn of(cluster: &Cluster) -> Self {
        let etcdctl = cluster.etcdctl();
        let lists = [
            &["member", "list"][..],
            &["user", "list"],
            &["role", "list"],
            &["role", "get", "reader"],
            &["user", "get", "root"],
            &["lease", "list"],
            &["alarm", "list"],
        ];
        let lists = lists.iter().map(|command| etcdctl.run(command)).collect();
        let address = cluster.client(0);
        run(async {
            let everything =
                RangeRequest { key: vec![0], range_end: vec![0], ..RangeRequest::default() };
            let channel = Channel::open(&address).await.expect("a connection to the member");
            let all: RangeResponse =
                channel.unary(rpc::RANGE, &everything).await.expect("all keys");
            let revision = all.header.map(|header| header.revision).expect("a header");
            let keys = all.kvs.iter().map(in_words).collect();
            let v2 = match cluster.generation.has_v2() {
                true => http1::get(&address, "/v2/keys/?recursive=true&sorted=true").await.text(),
                false => String::new(),
            };
            Self { revision, keys, lists, lease_left: lease_left(&channel).await, v2 }
        })
    }

    /// Panics if the later state differs in more than the lease's remaining time, or if that has
    /// grown.
    pub fn is_still(&self, later: &Self) {
        assert!(
            later.lease_left <= self.lease_left,
            "the lease was renewed: {} s left",
            later.lease_left
        );
        assert_eq!(&Self { lease_left: self.lease_left, ..later.clone() }, self);
    }
}

/// Grants [`LEASE`].
pub fn grant_lease(member: &str) {
    run(async {
        let channel = Channel::open(member).await.expect("a connection to the member");
        let grant = LeaseGrantRequest { ttl: LEASE_TTL, id: LEASE };
        channel.unary::<LeaseResponse>(rpc::LEASE_GRANT, &grant).await.expect("a lease");
    });
}

/// Waits until a renewal of [`LEASE`] could be noticed.
pub fn let_the_lease_age(member: &str) {
    run(async {
        let channel = Channel::open(member).await.expect("a connection to the member");
        eventually("the lease has aged", PATIENCE, async || {
            lease_left(&channel).await < LEASE_TTL - 1
        })
        .await;
    });
}

async fn lease_left(channel: &Channel) -> i64 {
    let answer =
        channel.unary::<LeaseResponse>(rpc::LEASE_TIME_TO_LIVE, &LeaseRequest { id: LEASE }).await;
    answer.expect("the lease's time to live").ttl
}

fn in_words(kv: &KeyValue) -> String {
    let (key, value) = (String::from_utf8_lossy(&kv.key), String::from_utf8_lossy(&kv.value));
    format!(
        "{key}={value}, version {} of revision {}, lease {:x}",
        kv.version, kv.mod_revision, kv.lease
    )
}
