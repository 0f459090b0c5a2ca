//! Members that are killed, stopped or replaced under constant reads, writes and watches.
//!
//! The promises about reads hold for every read as a client sees it, even while there is no leader.
//! etcd's clients repeat a read when etcd itself answers that it cannot serve at the moment, and so
//! does the load; its time covers the repetitions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::grpc::Channel;
use crate::support::load::{Load, Plan, Report};
use crate::support::proxy::Proxy;
use crate::support::rpc::{self, RangeRequest, RangeResponse};
use crate::support::{PATIENCE, exclusive, run};

on_each_generation!(
    members_killed_one_after_another_fail_no_read_and_lose_no_write,
    members_stopped_one_after_another_fail_no_read_and_lose_no_write,
    every_member_is_replaced_without_a_failed_read,
    all_members_gone_and_back_is_survived,
);

/// The limit for a read, not counting the time in which no member answered at all: the daemon is
/// not responsible for an election that a slow disk draws out.
const SLOWEST: Duration = Duration::from_secs(3);

fn fixture(generation: Generation) -> (Cluster, Proxy) {
    // Elections take half a second, so that the daemon is measured and not etcd's own waiting.
    let cluster = Cluster::planned(generation, 3)
        .with_flag("--heartbeat-interval=50")
        .with_flag("--election-timeout=500")
        .with_flag("--strict-reconfig-check=false");
    cluster.start_all();
    lay_out(&cluster);
    let proxy = proxy(&cluster, "sticky");
    (cluster, proxy)
}

fn proxy(cluster: &Cluster, balance: &str) -> Proxy {
    let plan = Proxy::before(cluster).arguments(&["--balance", balance]);
    plan.arguments(&["--proxy-refresh-interval", "1000"]).start()
}

/// Writes the key that is read and removes the keys of an earlier load. During an election etcd may
/// refuse this once or twice.
fn lay_out(cluster: &Cluster) {
    let deadline = Instant::now() + PATIENCE;
    let etcdctl = cluster.etcdctl();
    let attempt = || {
        etcdctl.try_run(&["del", "--prefix", "load/w/"])?;
        etcdctl.try_run(&["put", "load/r", "v"])
    };
    while let Err(error) = attempt() {
        assert!(Instant::now() < deadline, "etcd takes no keys: {error}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn load(proxy: &Proxy, cluster: &Cluster, serializable: bool) -> Load {
    let plan = Plan { serializable, writers: 3, watchers: 2, ..Plan::new(&proxy.address, "load") };
    let load = Load::start(plan);
    (0..cluster.len()).for_each(|member| load.control(&cluster.client(member)));
    load.wait_for_reads(50);
    load
}

/// Asserts what must hold for any load on a cluster that never lost its quorum.
fn nothing_was_lost(report: &Report, cluster: &Cluster, member: usize) {
    let beyond = report.slowest_beyond_silence();
    println!(
        "{} reads, {} asked again, slowest {:?}, beyond the members' silence {:?}; {} writes, {} not acknowledged; watches resumed {:?}",
        report.reads,
        report.asked_again,
        report.slowest_read,
        beyond,
        report.written.len(),
        report.failed_writes.len(),
        report.resumed
    );
    assert_eq!(report.failed_reads, [], "of {} reads", report.reads);
    assert!(
        beyond < SLOWEST,
        "slow reads: {:?}; silences: {:?}",
        report.slow_reads,
        report.silences
    );
    writes_are_there_once(report, cluster, member);
}

fn writes_are_there_once(report: &Report, cluster: &Cluster, member: usize) {
    let stored = stored_versions(&cluster.client(member));
    for (key, version) in &stored {
        assert_eq!(*version, 1, "{key} was written more than once");
    }
    let stored: BTreeSet<&String> = stored.iter().map(|(key, _)| key).collect();
    for key in &report.written {
        assert!(stored.contains(key), "{key} was acknowledged and is lost");
    }
    for seen in &report.seen {
        let missed: Vec<_> = stored.iter().filter(|key| !seen.contains_key(**key)).collect();
        assert!(missed.is_empty(), "the watch missed {missed:?}");
        let twice: Vec<_> = seen.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "the watch saw these more than once: {twice:?}");
    }
}

fn stored_versions(member: &str) -> Vec<(String, i64)> {
    let deadline = Instant::now() + PATIENCE;
    run(async {
        let request = RangeRequest { keys_only: true, ..RangeRequest::prefix("load/w/") };
        let ask = async || Channel::open(member).await?.unary(rpc::RANGE, &request).await;
        let all: RangeResponse = loop {
            match ask().await {
                Ok(all) => break all,
                Err(error) => assert!(Instant::now() < deadline, "all keys: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        };
        all.kvs
            .into_iter()
            .map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv.version))
            .collect()
    })
}

fn members_killed_one_after_another_fail_no_read_and_lose_no_write(generation: Generation) {
    let _machine = exclusive();
    let (cluster, sticky) = fixture(generation);
    let p2c = proxy(&cluster, "p2c");
    for (proxy, serializable) in [(sticky, false), (p2c, true)] {
        // The second round's watches start at this revision, so that they do not see the first
        // round's keys.
        lay_out(&cluster);
        let load = load(&proxy, &cluster, serializable);
        for member in 0..3 {
            cluster.kill(member);
            load.wait_for_reads(100);
            cluster.restart(member);
            load.wait_for_reads(100);
            load.wait_for_writes(50);
        }
        nothing_was_lost(&load.finish(), &cluster, 0);
    }
}

fn members_stopped_one_after_another_fail_no_read_and_lose_no_write(generation: Generation) {
    let _machine = exclusive();
    let (cluster, proxy) = fixture(generation);
    let load = load(&proxy, &cluster, false);
    for member in 0..3 {
        cluster.pause(member);
        // Long enough for a request that hangs on the member to be noticed.
        std::thread::sleep(Duration::from_secs(4));
        load.wait_for_reads(100);
        cluster.resume(member);
        load.wait_for_reads(100);
        load.wait_for_writes(50);
    }
    nothing_was_lost(&load.finish(), &cluster, 0);
}

/// In the end none of the original members is left, and no setting of the daemon has named a new
/// one.
fn every_member_is_replaced_without_a_failed_read(generation: Generation) {
    let _machine = exclusive();
    let (cluster, proxy) = fixture(generation);
    let load = load(&proxy, &cluster, false);
    for old in 0..3 {
        let new = cluster.add();
        load.control(&cluster.client(new));
        let listed = format!("http://{}", cluster.client(new));
        while !proxy.status()["members"].to_string().contains(&listed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        cluster.remove(old);
        load.wait_for_reads(100);
        load.wait_for_writes(50);
    }
    nothing_was_lost(&load.finish(), &cluster, 3);
}

fn all_members_gone_and_back_is_survived(generation: Generation) {
    let _machine = exclusive();
    let (cluster, proxy) = fixture(generation);
    let plan =
        Plan { watchers: 1, json_readers: 1, grpc_readers: 1, ..Plan::new(&proxy.address, "load") };
    let load = Load::start(plan);
    load.wait_for_reads(20);
    for member in 0..3 {
        cluster.kill(member);
    }
    let failing = load.so_far().failed_reads.len();
    while load.so_far().failed_reads.len() < failing + 5 {
        std::thread::sleep(Duration::from_millis(10));
    }
    cluster.start_all();
    load.wait_for_reads(100);
    let report = load.finish();
    // Every read fails with one of these messages.
    for (_, why) in &report.failed_reads {
        let known = [
            "httpproxy: ",
            "there is no connection available",
            "etcdserver: ",
            "member",
            "status 14",
        ];
        assert!(known.iter().any(|words| why.contains(words)), "{why}");
    }
    writes_are_there_once(&report, &cluster, 0);
}
