//! Connections to members on which HTTP/2 itself lets no request be sent.

use crate::support::grpc::Channel;
use crate::support::members::Members;
use crate::support::proxy::Proxy;
use crate::support::rpc::{PUT, RANGE};
use crate::support::{run, shared};

/// One call from start to end; returns which member it came to and over which of its connections.
async fn call(members: &mut Members, proxy: &Proxy, path: &'static str) -> (usize, usize) {
    let channel = Channel::open(&proxy.address).await.unwrap();
    let called = tokio::spawn(async move { channel.unary_bytes(path, b"hello").await });
    let mut call = members.call().await;
    while call.read_all().await.is_err() {
        // It was given up before any of it had come.
        call = members.call().await;
    }
    let came = (call.member, call.connection);
    call.answer(b"fine");
    assert_eq!(called.await.unwrap().unwrap(), "fine");
    came
}

#[test]
fn a_shared_connection_whose_windows_are_closed_is_given_up_for_a_new_one() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let (_, first) = call(&mut members, &proxy, PUT).await;
        members.close_windows(0, false);
        let (_, second) = call(&mut members, &proxy, PUT).await;
        assert_ne!(second, first);
        // Nobody waits again.
        let (_, third) = call(&mut members, &proxy, RANGE).await;
        assert_eq!(third, second);
        assert!(members.is_quiet());
    });
}

#[test]
fn a_member_that_opens_no_window_at_all_loses_its_calls_to_the_next() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let (member, _) = call(&mut members, &proxy, PUT).await;
        members.close_windows(member, true);
        // Over a new connection, before its SETTINGS have come; that one is closed to the next
        // call.
        let (same, _) = call(&mut members, &proxy, PUT).await;
        assert_eq!(same, member);
        let (next, _) = call(&mut members, &proxy, PUT).await;
        assert_ne!(next, member);
    });
}
