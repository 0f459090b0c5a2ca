//! gRPC calls pass with any `:authority`, since etcd's members accept any.

use crate::support::members::Members;
use crate::support::raw_http2::{RST_STREAM, RawHttp2, text};
use crate::support::rpc::RANGE;
use crate::support::{run, shared};

/// Encodes the authority as a literal with incremental indexing (it enters the dynamic table).
fn kept(value: &[u8]) -> Vec<u8> {
    [&[0x41], &text(value)[..]].concat()
}

#[test]
fn calls_pass_whatever_their_authority_is() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = RawHttp2::open(&proxy.address).await;
        let authorities = [
            kept(b"127.0.0.1:2379"),
            // The authority of etcd's client 3.5.0, and then the same from the dynamic table.
            kept(b"#initially=[127.0.0.1:2379;127.0.0.1:22379]"),
            vec![0xbe],
            kept(b"http://127.0.0.1:2379"),
            kept(b"unix:///run/etcd.sock"),
            kept(b"user:secret@etcd"),
            kept(b"a b"),
            kept(b"\xff\xfe"),
            kept(b""),
            // An empty one from HPACK's static table, and then no authority at all.
            vec![0x81],
            Vec::new(),
        ];
        for (at, authority) in authorities.iter().enumerate() {
            let stream = u32::try_from(at * 2 + 1).unwrap();
            let member = async {
                let mut call = members.call().await;
                assert_eq!(call.path(), RANGE);
                assert_eq!(call.head.uri().authority().unwrap(), &members.address(0));
                assert_eq!(call.read_all().await.unwrap().0.len(), 8);
                call.answer(b"fine");
            };
            let (answer, ()) = tokio::join!(client.call(stream, RANGE, authority, b"key"), member);
            assert!(answer.as_ref().is_ok_and(|body| body.ends_with(b"fine")), "{answer:?}");
        }
    });
}

#[test]
fn an_authority_that_no_member_takes_costs_its_stream_alone() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = RawHttp2::open(&proxy.address).await;
        for (at, value) in [&b"a\0b"[..], b"\xff\n"].iter().enumerate() {
            let stream = u32::try_from(at * 2 + 1).unwrap();
            let broken_off = client.call(stream, RANGE, &kept(value), b"key").await.unwrap_err();
            let frame = broken_off.expect("the connection goes on");
            assert_eq!((frame.kind, frame.stream), (RST_STREAM, stream), "{frame:?}");
        }
        let member = async { members.call().await.answer(b"fine") };
        let good = kept(b"a");
        let (answer, ()) = tokio::join!(client.call(9, RANGE, &good, b"key"), member);
        assert!(answer.unwrap().ends_with(b"fine"));
    });
}
