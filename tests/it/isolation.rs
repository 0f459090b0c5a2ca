//! A client that does not read neither slows nor breaks other clients, and an unread stream does
//! not affect the other streams of its client.

use std::time::Duration;

use crate::support::grpc::{Call, Channel};
use crate::support::members::{Arrival, Members, Serving};
use crate::support::rpc::{RANGE, WATCH};
use crate::support::{exclusive, meter, run};

const EVENTS: usize = 20_000;

/// Members whose watches send this many small events as fast as the proxy takes them.
async fn eventful() -> Serving {
    Members::start(1).await.serve(async |arrival| {
        let Arrival::Http2(call) = arrival else { return };
        if call.path() != WATCH {
            return call.answer(b"fine");
        }
        let mut reply = call.begin();
        for number in 0..EVENTS {
            let event = format!("event {number}");
            if reply.message_when_room(event.as_bytes()).await.is_err() {
                return;
            }
        }
        reply.finish(0, "");
    })
}

async fn watch(channel: &Channel) -> Call {
    let mut watch = channel.call(WATCH).await.unwrap();
    watch.send_bytes(b"create", false).unwrap();
    watch
}

/// Reads all events and asserts that none is missing.
async fn read_all(mut watch: Call) {
    for number in 0..EVENTS {
        let event = watch.next_bytes().await;
        assert_eq!(event.unwrap().unwrap(), format!("event {number}"));
    }
    assert_eq!(watch.next_bytes().await.unwrap(), None);
}

#[test]
fn a_client_that_stops_reading_holds_up_nobody_else() {
    let _machine = exclusive();
    run(async {
        let serving = eventful().await;
        let proxy = serving.members.proxy().await;
        let before = meter::resident_bytes(proxy.process.pid());
        let bad = Channel::open(&proxy.address).await.unwrap();
        let mut unread = Vec::new();
        for _ in 0..4 {
            let mut one = watch(&bad).await;
            one.head().await.unwrap();
            unread.push(one);
        }
        bad.stall(true);
        let mut readers = Vec::new();
        for _ in 0..3 {
            let channel = Channel::open(&proxy.address).await.unwrap();
            let reading = read_all(watch(&channel).await);
            readers.push(tokio::spawn(async move {
                reading.await;
                assert_eq!(channel.ended(), None);
                assert_eq!(channel.unary_bytes(RANGE, b"").await.unwrap(), "fine");
            }));
        }
        for reader in readers {
            reader.await.unwrap();
        }
        let grown = meter::resident_bytes(proxy.process.pid()).saturating_sub(before);
        assert!(grown < 32 << 20, "{} KiB more", grown / 1024);
        // The connection that did not read is still open, and gets everything when it reads again.
        bad.stall(false);
        for one in unread {
            read_all(one).await;
        }
        assert_eq!(bad.ended(), None);
    });
}

#[test]
fn a_stream_that_is_not_read_holds_up_no_other_of_its_client() {
    let _machine = exclusive();
    run(async {
        let serving = eventful().await;
        let proxy = serving.members.proxy().await;
        let before = meter::resident_bytes(proxy.process.pid());
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut unread = Vec::new();
        for _ in 0..10 {
            let mut one = watch(&channel).await;
            one.head().await.unwrap();
            unread.push(one);
        }
        for _ in 0..2 {
            read_all(watch(&channel).await).await;
            let called = channel.unary_bytes(RANGE, b"");
            let answer = tokio::time::timeout(Duration::from_secs(10), called).await;
            assert_eq!(answer.expect("a call is held up").unwrap(), "fine");
        }
        let grown = meter::resident_bytes(proxy.process.pid()).saturating_sub(before);
        assert!(grown < 32 << 20, "{} KiB more", grown / 1024);
        read_all(unread.swap_remove(0)).await;
        assert_eq!(channel.ended(), None);
    });
}

#[test]
fn an_upload_that_its_member_does_not_take_holds_up_no_other() {
    let _machine = exclusive();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let before = meter::resident_bytes(proxy.process.pid());
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut stuck = Vec::new();
        for _ in 0..10 {
            let mut call = channel.call(RANGE).await.unwrap();
            // More than the member's window, and less than the client's connection window allows.
            call.send_raw(&vec![7; 4 << 20], false).unwrap();
            stuck.push((call, members.call().await));
        }
        for sharer in [&channel, &Channel::open(&proxy.address).await.unwrap()] {
            let sharer = sharer.clone();
            let called = tokio::spawn(async move { sharer.unary_bytes(RANGE, b"small").await });
            let mut call = members.call().await;
            assert_eq!(call.read_all().await.unwrap().0, b"\0\0\0\0\x05small");
            call.answer(b"fine");
            assert_eq!(called.await.unwrap().unwrap(), "fine");
        }
        let grown = meter::resident_bytes(proxy.process.pid()).saturating_sub(before);
        assert!(grown < 48 << 20, "{} KiB more", grown / 1024);
    });
}
