//! Every gRPC method that etcd has.

use super::Fixture;
use super::state::LEASE;
use crate::fixture::on_each_generation;
use crate::support::generation::Generation;
use crate::support::grpc::{Channel, Failure};
use crate::support::rpc::{self, Fields, RangeRequest, RangeResponse, WatchRequest, WatchResponse};
use crate::support::{run, shared};

on_each_generation!(
    each_writing_method_is_unimplemented_and_writes_nothing,
    each_reading_method_passes,
    an_unknown_method_does_not_pass,
);

/// Returns the method and request of every call that writes.
fn writes() -> Vec<(&'static str, Fields)> {
    let lease = LEASE.unsigned_abs();
    let text = |value: &str| Fields::new().text(1, value);
    let pair = |first: &str, second: &str| Fields::new().text(1, first).text(2, second);
    let leader = pair("lock", "lock/held").number(3, 1).number(4, lease);
    let permission = Fields::new().number(1, 2).text(2, "k");
    let mut writes = vec![
        ("etcdserverpb.KV/Put", pair("kept", "changed")),
        ("etcdserverpb.KV/DeleteRange", text("kept")),
        ("etcdserverpb.KV/Compact", Fields::new().number(1, 2).number(2, 1)),
        (
            "etcdserverpb.KV/Txn",
            Fields::new().message(2, &Fields::new().message(2, &pair("kept", "txn"))),
        ),
        ("etcdserverpb.Lease/LeaseGrant", Fields::new().number(1, 100).number(2, 77)),
        ("etcdserverpb.Lease/LeaseRevoke", Fields::new().number(1, lease)),
        ("etcdserverpb.Lease/LeaseKeepAlive", Fields::new().number(1, lease)),
        ("etcdserverpb.Cluster/MemberAdd", text("http://127.0.0.1:1")),
        ("etcdserverpb.Cluster/MemberRemove", Fields::new().number(1, 1)),
        (
            "etcdserverpb.Cluster/MemberUpdate",
            Fields::new().number(1, 1).text(2, "http://127.0.0.1:1"),
        ),
        ("etcdserverpb.Cluster/MemberPromote", Fields::new().number(1, 1)),
        ("etcdserverpb.Maintenance/Alarm", Fields::new().number(1, 1).number(3, 1)),
        ("etcdserverpb.Maintenance/Alarm", Fields::new().number(1, 2).number(3, 1)),
        ("etcdserverpb.Maintenance/Defragment", Fields::new()),
        ("etcdserverpb.Maintenance/MoveLeader", Fields::new().number(1, 1)),
        ("etcdserverpb.Maintenance/Downgrade", Fields::new().number(1, 1).text(2, "3.4.0")),
    ];
    writes.extend([
        ("etcdserverpb.Auth/AuthEnable", Fields::new()),
        ("etcdserverpb.Auth/AuthDisable", Fields::new()),
        ("etcdserverpb.Auth/UserAdd", pair("new", "pw")),
        ("etcdserverpb.Auth/UserDelete", text("root")),
        ("etcdserverpb.Auth/UserChangePassword", pair("root", "other")),
        ("etcdserverpb.Auth/UserGrantRole", pair("root", "reader")),
        ("etcdserverpb.Auth/UserRevokeRole", pair("root", "root")),
        ("etcdserverpb.Auth/RoleAdd", text("new")),
        ("etcdserverpb.Auth/RoleDelete", text("reader")),
        ("etcdserverpb.Auth/RoleGrantPermission", text("reader").message(2, &permission)),
        ("etcdserverpb.Auth/RoleRevokePermission", pair("reader", "k")),
        ("v3lockpb.Lock/Lock", text("lock").number(2, lease)),
        ("v3lockpb.Lock/Unlock", text("lock/held")),
        ("v3electionpb.Election/Campaign", text("elect").number(2, lease).text(3, "x")),
        ("v3electionpb.Election/Proclaim", Fields::new().message(1, &leader).text(2, "changed")),
        ("v3electionpb.Election/Resign", Fields::new().message(1, &leader)),
    ]);
    writes
}

fn each_writing_method_is_unimplemented_and_writes_nothing(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        for (method, request) in writes() {
            let failure = channel.unary_bytes(&format!("/{method}"), request.bytes()).await;
            let failure = failure.expect_err(method);
            assert_eq!(failure.code(), Some(12), "{method}: {failure}");
        }
        assert_eq!(channel.ended(), None, "the connection lives on");
    });
    fixture.is_unchanged();
}

/// Returns the method and request of calls that read. They are answered with a message or refused
/// for a reason of their own.
fn reads(generation: Generation) -> Vec<(&'static str, Fields)> {
    let lease = Fields::new().number(1, LEASE.unsigned_abs());
    let text = |value: &str| Fields::new().text(1, value);
    let range = Fields::new().message(2, &Fields::new().message(1, &text("kept")));
    let mut reads = vec![
        ("etcdserverpb.KV/Range", text("kept")),
        ("etcdserverpb.KV/Txn", range.clone()),
        ("etcdserverpb.KV/Txn", Fields::new().message(2, &Fields::new().message(4, &range))),
        ("etcdserverpb.Lease/LeaseTimeToLive", lease),
        ("etcdserverpb.Lease/LeaseLeases", Fields::new()),
        ("etcdserverpb.Cluster/MemberList", Fields::new()),
        ("etcdserverpb.Maintenance/Alarm", Fields::new()),
        ("etcdserverpb.Maintenance/Alarm", Fields::new().number(1, 0).number(3, 1)),
        ("etcdserverpb.Maintenance/Status", Fields::new()),
        ("etcdserverpb.Maintenance/Hash", Fields::new()),
        ("etcdserverpb.Maintenance/HashKV", Fields::new()),
        ("etcdserverpb.Auth/UserGet", text("root")),
        ("etcdserverpb.Auth/UserList", Fields::new()),
        ("etcdserverpb.Auth/RoleGet", text("reader")),
        ("etcdserverpb.Auth/RoleList", Fields::new()),
        ("grpc.health.v1.Health/Check", Fields::new()),
    ];
    if generation != Generation::V3_4 {
        reads.push(("etcdserverpb.Auth/AuthStatus", Fields::new()));
    }
    reads
}

fn each_reading_method_passes(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        for (method, request) in reads(generation) {
            let answer = channel.unary_bytes(&format!("/{method}"), request.bytes()).await;
            answer.unwrap_or_else(|failure| panic!("{method}: {failure}"));
        }
        // These are passed on to a member, which refuses them for a reason of its own.
        for (method, request, code) in [
            ("etcdserverpb.Auth/Authenticate", Fields::new().text(1, "root").text(2, "pw"), 9),
            ("v3electionpb.Election/Leader", Fields::new().text(1, "nobody"), 2),
        ] {
            let failure = channel.unary_bytes(&format!("/{method}"), request.bytes()).await;
            assert_eq!(failure.expect_err(method).code(), Some(code), "{method}");
        }
        streams_pass(&channel, generation).await;
    });
    fixture.is_unchanged();
}

async fn streams_pass(channel: &Channel, generation: Generation) {
    let mut watch = channel.call(rpc::WATCH).await.expect("a call");
    watch.send(&WatchRequest::prefix("kept", 1)).expect("sent");
    let created = watch.next::<WatchResponse>().await.expect("an answer").expect("no end");
    assert!(created.created);
    let event = watch.next::<WatchResponse>().await.expect("an answer").expect("no end");
    assert_eq!(event.events.len(), 1);
    let mut snapshot = channel.call("/etcdserverpb.Maintenance/Snapshot").await.expect("a call");
    snapshot.send_bytes(&[], true).expect("sent");
    let mut pieces = 0;
    while snapshot.next_bytes().await.expect("a snapshot").is_some() {
        pieces += 1;
    }
    assert!(pieces > 0);
    if generation == Generation::V3_7 {
        let mut stream = channel.call("/etcdserverpb.KV/RangeStream").await.expect("a call");
        let range = RangeRequest::prefix("kept");
        stream.send_bytes(&prost::Message::encode_to_vec(&range), true).expect("sent");
        assert!(stream.next_bytes().await.expect("an answer").is_some());
    }
}

fn an_unknown_method_does_not_pass(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let channel = Channel::open(&fixture.proxy.address).await.expect("a connection");
        for method in ["/etcdserverpb.KV/Overwrite", "/etcdserverpb.Auth/RoleRename", "/x.Y/Z"] {
            let failure = channel.unary_bytes(method, &[]).await.expect_err(method);
            assert_eq!(failure.code(), Some(12), "{method}: {failure}");
        }
        // Calls that are allowed are still served on the same connection.
        let range = channel.unary::<RangeResponse>(rpc::RANGE, &RangeRequest::key("kept")).await;
        assert_eq!(
            range.map_err(|failure: Failure| failure.to_string()).expect("a range").count,
            1
        );
    });
}
