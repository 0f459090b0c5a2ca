//! Watchers that stop reading, beside watchers that read: no other client may be affected.

use std::time::{Duration, Instant};

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::grpc::{Call, Channel};
use crate::support::load::{Load, Plan};
use crate::support::proxy::Proxy;
use crate::support::rpc::{self, Done, PutRequest, WatchRequest, WatchResponse};
use crate::support::{exclusive, meter, run_within};

on_each_generation!(stalled_watchers_disturb_no_reader);

const EVENTS: usize = 20_000;
const WRITERS: usize = 64;

/// One watch on a connection.
struct Watcher {
    channel: Channel,
    call: Call,
    seen: usize,
}

impl Watcher {
    async fn open(address: &str) -> Self {
        let channel = Channel::open(address).await.expect("a connection");
        Self::on(channel).await
    }

    async fn on(channel: Channel) -> Self {
        let mut call = channel.call(rpc::WATCH).await.expect("a call");
        call.send(&WatchRequest::prefix("small/", 0)).expect("sent");
        let created = call.next::<WatchResponse>().await.expect("an answer").expect("no end");
        assert!(created.created);
        Self { channel, call, seen: 0 }
    }

    async fn read_all(&mut self, who: &str) {
        while self.seen < EVENTS {
            let answer = self.call.next::<WatchResponse>().await;
            let answer =
                answer.unwrap_or_else(|failure| panic!("{who} after {}: {failure}", self.seen));
            let answer =
                answer.unwrap_or_else(|| panic!("{who}: the watch ended after {}", self.seen));
            assert!(!answer.canceled, "{who}: {}", answer.cancel_reason);
            self.seen += answer.events.len();
        }
        assert_eq!(self.seen, EVENTS, "{who}");
    }
}

fn stalled_watchers_disturb_no_reader(generation: Generation) {
    let _machine = exclusive();
    let cluster = Cluster::start(generation, 3);
    cluster.etcdctl().run(&["put", "load/r", "v"]);
    let proxy = Proxy::before(&cluster).start();
    let plan =
        Plan { writers: 0, pause: Duration::from_millis(10), ..Plan::new(&proxy.address, "load") };
    let load = Load::start(plan);
    let before = meter::resident_bytes(proxy.process.pid());
    run_within(Duration::from_secs(240), stall(&cluster, &proxy, before));
    let report = load.finish();
    println!("{} reads beside, slowest {:?}", report.reads, report.slowest_read);
    assert_eq!(report.failed_reads, []);
}

async fn stall(cluster: &Cluster, proxy: &Proxy, before: u64) {
    let mut readers = Vec::new();
    let mut stalled = Vec::new();
    for _ in 0..3 {
        readers.push(Watcher::open(&proxy.address).await);
        // A watcher whose stream is not read, and one whose whole connection is not.
        stalled.push(Watcher::open(&proxy.address).await);
        let frozen = Watcher::open(&proxy.address).await;
        frozen.channel.stall(true);
        stalled.push(frozen);
    }
    // A watcher that shares its connection with a reader.
    let shared = readers[0].channel.clone();
    stalled.push(Watcher::on(shared).await);
    let begin = Instant::now();
    let member = cluster.client(0);
    let writers = tokio::spawn(async move { write_all(&member).await });
    for (index, reader) in readers.iter_mut().enumerate() {
        reader.read_all(&format!("reader {index}")).await;
    }
    writers.await.expect("the writers");
    let grown = meter::resident_bytes(proxy.process.pid()).saturating_sub(before);
    println!("{EVENTS} events in {:?}, {} KiB more memory", begin.elapsed(), grown / 1024);
    assert!(grown < 64 << 20, "{} KiB more memory", grown / 1024);
    for watcher in readers.iter().chain(&stalled) {
        assert_eq!(watcher.channel.ended(), None, "a connection ended");
    }
    // The watchers that stopped can continue and miss nothing.
    for (index, watcher) in stalled.iter_mut().enumerate() {
        watcher.channel.stall(false);
        watcher.read_all(&format!("stalled {index}")).await;
    }
}

async fn write_all(member: &str) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let channel = Channel::open(member).await.expect("a connection to the member");
        writers.spawn(async move {
            for number in (writer..EVENTS).step_by(WRITERS) {
                let put = PutRequest::new(&format!("small/{writer}"), &number.to_string());
                channel.unary::<Done>(rpc::PUT, &put).await.expect("a write");
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer");
    }
}
