//! Streams and sizes in gRPC: many streams on one connection, half closed, cancelled together, and
//! large messages beside small ones.

use crate::fixture::{Fixture, on_each_generation};
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::grpc::{Call, Channel};
use crate::support::proxy::Proxy;
use crate::support::rpc::{
    self, Done, Fields, LeaseGrantRequest, LeaseRequest, LeaseResponse, PutRequest, RangeRequest,
    RangeResponse, WatchRequest, WatchResponse,
};
use crate::support::{PATIENCE, eventually, exclusive, http1, meter, run, shared};

on_each_generation!(
    a_thousand_watches_live_on_one_connection_and_half_may_go_at_once,
    a_half_closed_watch_goes_on,
    a_half_closed_keep_alive_is_answered_and_ends_well,
    errors_are_the_members_own,
    a_large_value_and_a_large_range_pass_beside_a_watch,
    a_full_cluster_still_reads_and_deletes,
    pings_without_a_call_end_no_connection,
    a_storm_of_short_watches_leaves_nothing_behind,
);

async fn watch(channel: &Channel, prefix: &str) -> Call {
    let mut call = channel.call(rpc::WATCH).await.expect("a call");
    call.send(&WatchRequest::prefix(prefix, 0)).expect("sent");
    call
}

async fn created(call: &mut Call) {
    let answer = call.next::<WatchResponse>().await.expect("an answer").expect("no end");
    assert!(answer.created);
}

async fn event(call: &mut Call) -> WatchResponse {
    let answer = call.next::<WatchResponse>().await;
    answer.unwrap_or_else(|failure| panic!("{failure}")).expect("no end")
}

async fn put(address: &str, key: &str, value: &str) {
    let channel = Channel::open(address).await.expect("a connection");
    channel.unary::<Done>(rpc::PUT, &PutRequest::new(key, value)).await.expect("a write");
}

fn a_thousand_watches_live_on_one_connection_and_half_may_go_at_once(generation: Generation) {
    let _machine = exclusive();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let channel = Channel::open(address).await.expect("a connection");
        let mut watches = Vec::new();
        for _ in 0..1_000 {
            watches.push(watch(&channel, "streams/thousand").await);
        }
        for call in &mut watches {
            created(call).await;
        }
        put(address, "streams/thousand", "first").await;
        for call in &mut watches {
            assert_eq!(event(call).await.events.len(), 1);
        }
        watches.truncate(500);
        put(address, "streams/thousand", "second").await;
        for call in &mut watches {
            assert_eq!(event(call).await.events.len(), 1);
        }
        assert_eq!(channel.ended(), None);
        // The connection still takes new calls.
        let range = channel
            .unary::<RangeResponse>(rpc::RANGE, &RangeRequest::key("streams/thousand"))
            .await;
        assert_eq!(range.expect("a range").kvs[0].value, b"second");
    });
}

fn a_half_closed_watch_goes_on(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let channel = Channel::open(address).await.expect("a connection");
        let mut call = watch(&channel, "streams/half").await;
        call.finish().expect("a half-close");
        created(&mut call).await;
        for number in 0..3 {
            put(address, "streams/half", &number.to_string()).await;
            assert_eq!(event(&mut call).await.events.len(), 1);
        }
    });
}

fn a_half_closed_keep_alive_is_answered_and_ends_well(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let channel = Channel::open(address).await.expect("a connection");
        let grant = LeaseGrantRequest { ttl: 60, id: 0 };
        let lease: LeaseResponse = channel.unary(rpc::LEASE_GRANT, &grant).await.expect("a lease");
        let mut call = channel.call(rpc::LEASE_KEEP_ALIVE).await.expect("a call");
        call.send(&LeaseRequest { id: lease.id }).expect("sent");
        call.finish().expect("a half-close");
        let kept = call.next::<LeaseResponse>().await.expect("an answer").expect("no end yet");
        assert_eq!(kept.ttl, 60);
        assert_eq!(call.next::<LeaseResponse>().await, Ok(None));
    });
}

fn errors_are_the_members_own(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let through = Channel::open(&fixture.proxy.address).await.expect("a connection");
        let direct = Channel::open(&fixture.cluster.client(0)).await.expect("a connection");
        for (path, request) in [
            (rpc::RANGE, Fields::new()),
            (rpc::RANGE, Fields::new().text(1, "a").number(4, 1 << 40)),
            (rpc::PUT, Fields::new().text(1, "a").number(3, 999)),
            (rpc::LEASE_REVOKE, Fields::new().number(1, 999)),
            ("/etcdserverpb.KV/Nothing", Fields::new()),
            ("/no.Service/Nothing", Fields::new()),
        ] {
            let through = through.unary_bytes(path, request.bytes()).await.expect_err(path);
            let direct = direct.unary_bytes(path, request.bytes()).await.expect_err(path);
            assert_eq!(through, direct, "{path}");
        }
    });
}

fn a_large_value_and_a_large_range_pass_beside_a_watch(generation: Generation) {
    let _machine = exclusive();
    let cluster = Cluster::planned(generation, 1).with_flag("--max-request-bytes=16777216");
    cluster.start_all();
    let proxy = Proxy::before(&cluster).start();
    run(async {
        let channel = Channel::open(&proxy.address).await.expect("a connection");
        let large = "x".repeat(8 << 20);
        for number in 0..8 {
            let request = PutRequest::new(&format!("large/{number}"), &large);
            channel.unary::<Done>(rpc::PUT, &request).await.expect("a write of 8 MiB");
        }
        let mut watched = watch(&channel, "beside").await;
        created(&mut watched).await;
        let everything = RangeRequest::prefix("large/");
        let range = channel.unary::<RangeResponse>(rpc::RANGE, &everything);
        let events = async {
            for number in 0..20 {
                put(&proxy.address, "beside", &number.to_string()).await;
                event(&mut watched).await;
            }
        };
        let (range, ()) = tokio::join!(range, events);
        let bytes: usize = range.expect("64 MiB").kvs.iter().map(|kv| kv.value.len()).sum();
        assert_eq!(bytes, 64 << 20);
    });
}

/// An alarm makes `/health` false at all members; a proxy that relied on it would have no member
/// left.
fn a_full_cluster_still_reads_and_deletes(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::new(generation, 1);
    let etcdctl = fixture.etcdctl();
    etcdctl.run(&["put", "full", "x"]);
    run(async {
        let member = Channel::open(&fixture.cluster.client(0)).await.expect("a connection");
        let raise = Fields::new().number(1, 1).number(3, 1);
        member
            .unary_bytes("/etcdserverpb.Maintenance/Alarm", raise.bytes())
            .await
            .expect("an alarm");
    });
    let full = etcdctl.try_run(&["put", "full", "y"]).expect_err("no space");
    assert!(full.contains("database space exceeded"), "{full}");
    // Longer than a probe needs to notice the alarm.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(etcdctl.run(&["get", "--print-value-only", "full"]), "x\n");
    assert_eq!(etcdctl.run(&["del", "full"]), "1\n");
    etcdctl.run(&["defrag"]);
    etcdctl.run(&["alarm", "disarm"]);
    etcdctl.run(&["put", "full", "again"]);
}

/// etcd itself would send GOAWAY after so many PINGs; clients do not expect that of a proxy on
/// their own machine.
fn pings_without_a_call_end_no_connection(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let channel = Channel::open(address).await.expect("a connection");
        let mut pings = channel.pings().expect("PING");
        for _ in 0..50 {
            pings.ping(h2::Ping::opaque()).await.expect("a PONG");
        }
        let range =
            channel.unary::<RangeResponse>(rpc::RANGE, &RangeRequest::key("streams/ping")).await;
        range.expect("a call after the pings");
    });
}

fn a_storm_of_short_watches_leaves_nothing_behind(generation: Generation) {
    let _machine = exclusive();
    let fixture = Fixture::new(generation, 1);
    let (address, pid) = (&fixture.proxy.address, fixture.proxy.process.pid());
    run(async {
        storm(address, 2).await;
        let (memory, descriptors) = (meter::resident_bytes(pid), meter::descriptors(pid));
        storm(address, 20).await;
        eventually("no call is in flight", PATIENCE, async || {
            let status = http1::get(address, "/proxy/status").await.json();
            status["traffic"]["rpcs_in_flight"] == 0 && meter::descriptors(pid) <= descriptors + 10
        })
        .await;
        let grown = meter::resident_bytes(pid).saturating_sub(memory);
        assert!(grown < 32 << 20, "{} KiB more memory", grown / 1024);
    });
}

/// Opens 100 connections with 5 watches each per round. Half of them are closed before the answer
/// and half after it.
async fn storm(address: &str, rounds: usize) {
    for round in 0..rounds {
        let mut watches = Vec::new();
        for _ in 0..100 {
            let channel = Channel::open(address).await.expect("a connection");
            for _ in 0..5 {
                watches.push(watch(&channel, "streams/storm").await);
            }
        }
        if round % 2 == 0 {
            for call in &mut watches {
                created(call).await;
            }
        }
    }
}
