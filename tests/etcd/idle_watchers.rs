//! Thousands of idle watchers: the cost of each, and that nothing remains when they leave.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::http1::{self, Connection};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, exclusive, meter, run};

on_each_generation!(three_thousand_idle_watchers_leave_nothing_behind);

const WATCHERS: usize = 3_000;

fn three_thousand_idle_watchers_leave_nothing_behind(generation: Generation) {
    let _machine = exclusive();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of descriptors");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("to raise the limit of descriptors");
    let cluster = Cluster::start(generation, 3);
    let proxy = Proxy::before(&cluster).start();
    let pid = proxy.process.pid();
    run(async {
        // A first round grows what is never given back, such as pools and thread stacks.
        drop(watchers(&proxy, 50).await);
        all_gone(&cluster).await;
        let (memory, descriptors) = (meter::resident_bytes(pid), meter::descriptors(pid));
        let held = watchers(&proxy, WATCHERS).await;
        assert!(member_watchers(&cluster).await >= WATCHERS);
        let grown = meter::resident_bytes(pid).saturating_sub(memory);
        println!(
            "{} bytes of memory for each of {WATCHERS} idle watchers",
            grown as usize / WATCHERS
        );
        assert!(grown as usize / WATCHERS < 100_000);
        drop(held);
        all_gone(&cluster).await;
        eventually("the descriptors are closed", PATIENCE, async || {
            meter::descriptors(pid) <= descriptors + 10
        })
        .await;
    });
}

async fn watchers(proxy: &Proxy, count: usize) -> Vec<Connection> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut watcher = Connection::open(&proxy.address).await.expect("a connection");
        let create = "{\"create_request\":{\"key\":\"aWRsZQ==\"}}";
        watcher.send_request("POST", "/v3/watch", &[], create).await.expect("sent");
        held.push(watcher);
    }
    for watcher in &mut held {
        assert_eq!(watcher.head().await.expect("a head").status, 200);
        let created = watcher.chunk().await.expect("a chunk").expect("no end");
        assert!(String::from_utf8_lossy(&created).contains("\"created\":true"));
    }
    held
}

async fn all_gone(cluster: &Cluster) {
    eventually("the members' watchers are gone", PATIENCE, async || {
        member_watchers(cluster).await == 0
    })
    .await;
}

/// Returns how many watchers the members count.
async fn member_watchers(cluster: &Cluster) -> usize {
    let mut count = 0;
    for member in 0..cluster.len() {
        let metrics = http1::get(&cluster.client(member), "/metrics").await.text();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("etcd_debugging_mvcc_watcher_total "));
        count += line.expect("a count").parse::<f64>().expect("a number") as usize;
    }
    count
}
