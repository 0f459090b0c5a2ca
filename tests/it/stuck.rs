//! Connections to members on which HTTP/2's flow control allows no request.

use crate::support::grpc::Channel;
use crate::support::members::Members;
use crate::support::proxy::Proxy;
use crate::support::rpc::{PUT, RANGE};
use crate::support::{run, shared};

/// Makes one call. Returns the member that answered it and the number of its connection there.
async fn call(members: &mut Members, proxy: &Proxy, path: &'static str) -> (usize, usize) {
    let channel = Channel::open(&proxy.address).await.unwrap();
    let called = tokio::spawn(async move { channel.unary_bytes(path, b"hello").await });
    let mut call = members.call().await;
    while call.read_all().await.is_err() {
        // The proxy gave this attempt up before any of the body could be sent.
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
        // The next call does not wait again.
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
        // Sent on a new connection before its SETTINGS have come; after them, that connection is of
        // no use either.
        let (same, _) = call(&mut members, &proxy, PUT).await;
        assert_eq!(same, member);
        let (next, _) = call(&mut members, &proxy, PUT).await;
        assert_ne!(next, member);
    });
}
