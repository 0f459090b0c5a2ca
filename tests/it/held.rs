//! Answers to gRPC reads that have begun and are not complete: a short one is held back, so that
//! the read can still be sent to another member.

use bytes::Bytes;
use h2::Reason;
use tokio::task::JoinHandle;

use crate::support::grpc::{Channel, Failure};
use crate::support::http2::{Connection, next};
use crate::support::members::Members;
use crate::support::members::http2::Reply;
use crate::support::rpc::{NOTHING_SENT, PUT, RANGE};
use crate::support::{run, shared};

/// More than the proxy holds back.
const LONG: usize = 20_000;

/// A call whose answer has begun.
struct Begun {
    channel: Channel,
    called: JoinHandle<Result<Bytes, Failure>>,
    member: usize,
    connection: usize,
    reply: Reply,
}

/// Makes a call and sends these pieces of the answer, each in a DATA frame. Returns when the proxy
/// has received them.
async fn begin(members: &mut Members, address: &str, path: &'static str, parts: &[Bytes]) -> Begun {
    let channel = Channel::open(address).await.unwrap();
    let caller = channel.clone();
    let called = tokio::spawn(async move { caller.unary_bytes(path, b"").await });
    let call = members.call().await;
    let (member, connection) = (call.member, call.connection);
    let mut reply = call.begin();
    for part in parts {
        reply.stream.send_data(part.clone(), false).unwrap();
    }
    let begun = Begun { channel, called, member, connection, reply };
    begun.has_arrived(members).await;
    begun
}

impl Begun {
    /// Waits until the proxy has received all pieces: it has when it has answered a later call on
    /// the same connection.
    async fn has_arrived(&self, members: &mut Members) {
        let channel = self.channel.clone();
        let behind = tokio::spawn(async move { channel.unary_bytes(PUT, b"").await });
        let call = members.call().await;
        assert_eq!((call.member, call.connection), (self.member, self.connection));
        call.answer(b"");
        behind.await.unwrap().unwrap();
    }
}

/// Asserts that a member other than `not` is asked and that the client gets its answer.
async fn is_asked_elsewhere(
    members: &mut Members,
    called: JoinHandle<Result<Bytes, Failure>>,
    not: usize,
) {
    let second = members.call().await;
    assert_ne!(second.member, not);
    second.answer(b"two");
    assert_eq!(called.await.unwrap().unwrap(), "two");
}

fn frames(lengths: &[usize]) -> Vec<Bytes> {
    // One message, split into all of them.
    let all: usize = lengths.iter().sum();
    let mut message = crate::support::members::http2::framed(&vec![b'x'; all.saturating_sub(5)]);
    lengths.iter().map(|length| message.split_to(*length)).collect()
}

#[test]
fn a_member_lost_within_a_short_answer_fails_no_read_and_repeats_no_write() {
    let _machine = shared();
    run(async {
        // The last has the frame sizes of members behind TLS.
        for lengths in [&[][..], &[100], &[16_384], &[4_096, 4_096, 4_096, 4_000]] {
            for path in [RANGE, PUT] {
                let mut members = Members::start(2).await;
                let proxy = members.proxy().await;
                let begun = begin(&mut members, &proxy.address, path, &frames(lengths)).await;
                begun.reply.cut();
                if path == RANGE {
                    is_asked_elsewhere(&mut members, begun.called, begun.member).await;
                    continue;
                }
                let failure = begun.called.await.unwrap().unwrap_err();
                assert_eq!(failure.code(), Some(14), "{failure}");
                assert!(!failure.to_string().contains(NOTHING_SENT), "{failure}");
                assert!(members.is_quiet());
            }
        }
    });
}

#[test]
fn a_long_answer_is_passed_on_as_it_comes_and_its_read_is_not_repeated() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut client = channel.call(RANGE).await.unwrap();
        client.finish().unwrap();
        let mut reply = members.call().await.begin();
        reply.message(&[b'x'; LONG]);
        assert_eq!(client.next_bytes().await.unwrap().unwrap().len(), LONG);
        reply.cut();
        let failure = client.next_bytes().await.unwrap_err();
        assert_eq!(failure.code(), Some(14), "{failure}");
        assert!(members.is_quiet());
    });
}

#[test]
fn a_stream_that_is_reset_within_a_short_answer_sends_a_read_elsewhere() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let begun = begin(&mut members, &proxy.address, RANGE, &frames(&[100])).await;
        begun.reply.reset(Reason::INTERNAL_ERROR);
        is_asked_elsewhere(&mut members, begun.called, begun.member).await;
    });
}

#[test]
fn a_member_that_hangs_within_a_short_answer_sends_a_read_elsewhere() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        let mut begun = begin(&mut members, &proxy.address, RANGE, &frames(&[100])).await;
        members.hang(begun.member, true);
        is_asked_elsewhere(&mut members, begun.called, begun.member).await;
        assert_eq!(begun.reply.until_reset().await, Some(Reason::CANCEL));
    });
}

#[test]
fn a_client_that_leaves_while_its_answer_is_held_cancels_it() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        let head = [("content-type", "application/grpc"), ("te", "trailers")];
        let (response, stream) = client.request("POST", RANGE, &head, true).await;
        let mut reply = members.call().await.begin();
        reply.message(b"one");
        drop((response, stream));
        assert_eq!(reply.until_reset().await, Some(Reason::CANCEL));
    });
}

#[test]
fn what_was_held_is_passed_on_in_order_and_whole() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        let head = [("content-type", "application/grpc"), ("te", "trailers")];
        // More frames than the proxy holds back, some of them empty. The last one ends the stream
        // without trailers.
        let (response, _stream) = client.request("POST", RANGE, &head, true).await;
        let mut reply = members.call().await.begin();
        let mut sent = Vec::new();
        for number in 0..20_u8 {
            let part = Bytes::from(vec![number; usize::from(number % 3)]);
            sent.extend_from_slice(&part);
            reply.stream.send_data(part, number == 19).unwrap();
        }
        let mut body = response.await.unwrap().into_body();
        let mut received = Vec::new();
        while let Some(part) = next(&mut body).await.unwrap() {
            received.extend_from_slice(&part);
        }
        assert_eq!(received, sent);
        assert!(body.trailers().await.unwrap().is_none());
    });
}
