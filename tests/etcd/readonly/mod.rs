//! In readonly mode no request changes a cluster: every writing request of every protocol is sent
//! to real etcd through the daemon, and the data is compared afterwards.

mod disguise;
mod grpc;
mod json;
mod state;
mod txn;
mod v2;

use std::sync::LazyLock;

use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::proxy::Proxy;
use state::{LEASE, State};

/// A member with data that writes could change, and a readonly daemon in front.
pub struct Fixture {
    cluster: Cluster,
    proxy: Proxy,
    before: State,
}

impl Fixture {
    fn new(generation: Generation) -> Self {
        let cluster = Cluster::start(generation, 1);
        let etcdctl = cluster.etcdctl();
        etcdctl.run(&["put", "kept", "as it was"]);
        etcdctl.run(&["put", "lock/held", "x"]);
        state::grant_lease(&cluster.client(0));
        etcdctl.run(&["put", "leased", "x", &format!("--lease={LEASE:x}")]);
        etcdctl.run(&["user", "add", "root:pw"]);
        etcdctl.run(&["role", "add", "reader"]);
        etcdctl.run(&["user", "grant-role", "root", "root"]);
        if generation.has_v2() {
            crate::support::etcdctl::Etcdctl::v2(generation, &cluster.client(0))
                .run(&["set", "/kept", "v2"]);
        }
        let proxy = Proxy::before(&cluster).mode("readonly").start();
        state::let_the_lease_age(&cluster.client(0));
        let before = State::of(&cluster);
        Self { cluster, proxy, before }
    }

    /// Returns the fixture that the tests of an etcd version share, since none of them changes
    /// anything.
    fn shared(generation: Generation) -> &'static Self {
        static V3_4: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(Generation::V3_4));
        static V3_5: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(Generation::V3_5));
        static V3_6: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(Generation::V3_6));
        static V3_7: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(Generation::V3_7));
        match generation {
            Generation::V3_4 => &V3_4,
            Generation::V3_5 => &V3_5,
            Generation::V3_6 => &V3_6,
            Generation::V3_7 => &V3_7,
        }
    }

    /// Asserts that the member's data is the same as at the start.
    fn is_unchanged(&self) {
        self.before.is_still(&State::of(&self.cluster));
    }
}
