//! A client that leaves ends its request at the member at once, and no other client notices.

use h2::Reason;

use crate::support::grpc::Channel;
use crate::support::http2::{Connection, next};
use crate::support::members::{Arrival, Members};
use crate::support::rpc::{PUT, RANGE, WATCH};
use crate::support::{PATIENCE, eventually, http1, run, shared};

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

#[test]
fn an_http1_client_that_leaves_before_the_head_ends_its_request() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for (method, path) in
            [("GET", "/v2/keys/a?wait=true"), ("PUT", "/v2/keys/a"), ("POST", "/v3/kv/range")]
        {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            client.send_request(method, path, &[], "x").await.unwrap();
            let mut exchange = members.exchange().await;
            assert_eq!(exchange.body().await.unwrap(), b"x");
            drop(client);
            exchange.until_closed().await;
            assert!(members.is_quiet(), "{method} {path} was sent again");
        }
    });
}

#[test]
fn an_http1_client_that_leaves_within_the_answer_ends_it() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("GET", "/v2/keys/a?wait=true&stream=true", &[], "").await.unwrap();
        let mut exchange = members.exchange().await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.send(format!("{head}5\r\nevent\r\n")).await.unwrap();
        client.head().await.unwrap();
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"event");
        drop(client);
        exchange.until_closed().await;
    });
}

#[test]
fn an_http2_client_that_resets_a_stream_ends_the_http1_request_behind_it() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        for sends_head in [false, true] {
            let (response, stream) = client.request("POST", "/v3/watch", &[], true).await;
            let mut exchange = members.exchange().await;
            if sends_head {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                exchange.send(format!("{head}5\r\nevent\r\n")).await.unwrap();
                let mut body = response.await.unwrap().into_body();
                assert_eq!(next(&mut body).await.unwrap().unwrap(), "event");
                drop((body, stream));
            } else {
                drop((response, stream));
            }
            exchange.until_closed().await;
        }
        assert_eq!(client.ended(), None);
    });
}

#[test]
fn a_grpc_client_that_resets_a_stream_cancels_it_at_the_member() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        for path in [RANGE, PUT, WATCH] {
            // Keeps the connection to the member in use.
            let (kept, _open) = client.request("POST", path, &GRPC, false).await;
            let keeper = members.call().await;
            let (response, stream) = client.request("POST", path, &GRPC, false).await;
            let mut call = members.call().await;
            drop((response, stream));
            assert_eq!(call.until_reset().await, Some(Reason::CANCEL), "{path} before the head");

            let (response, stream) = client.request("POST", path, &GRPC, false).await;
            let mut reply = members.call().await.begin();
            // More than the proxy holds back of the answer to a read.
            reply.message(&[0; 20_000]);
            let mut body = response.await.unwrap().into_body();
            assert!(next(&mut body).await.unwrap().is_some());
            drop((body, stream));
            assert_eq!(reply.until_reset().await, Some(Reason::CANCEL), "{path} after the head");
            keeper.answer(b"still here");
            assert_eq!(kept.await.unwrap().status(), 200);
        }
        assert_eq!(client.ended(), None);
    });
}

#[test]
fn an_http2_client_whose_connection_is_cut_ends_all_it_had_open() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        let _unary = client.request("POST", RANGE, &GRPC, true).await;
        let mut unary = members.call().await;
        let _watch = client.request("POST", WATCH, &GRPC, false).await;
        let mut watch = members.call().await.begin();
        let _json = client.request("POST", "/v3/watch", &[], true).await;
        let mut json = members.exchange().await;
        client.cut();
        assert_eq!(unary.until_reset().await, Some(Reason::CANCEL));
        // The watch had a connection to itself, which is closed with it.
        watch.until_reset().await;
        json.until_closed().await;
        eventually("only the shared connection is left", PATIENCE, async || {
            members.open_connections() == 2 // The shared one, and `json`'s (held here).
        })
        .await;
    });
}

#[test]
fn five_hundred_streams_cancelled_at_once_harm_no_other_stream() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        for path in [WATCH, RANGE] {
            let (kept, _open) = client.request("POST", path, &GRPC, false).await;
            let mut keeper = members.call().await.begin();
            // More than the proxy holds back of the answer to a read.
            keeper.message(&[0; 20_000]);
            let mut kept = kept.await.unwrap().into_body();
            let mut missing = 20_005;
            while missing > 0 {
                missing -= next(&mut kept).await.unwrap().unwrap().len();
            }
            let mut streams = Vec::new();
            let mut calls = Vec::new();
            for _ in 0..500 {
                streams.push(client.request("POST", path, &GRPC, false).await);
                calls.push(members.call().await);
            }
            drop(streams);
            for mut call in calls {
                call.until_reset().await;
            }
            keeper.message(b"after");
            assert_eq!(next(&mut kept).await.unwrap().unwrap(), "\0\0\0\0\x05after", "{path}");
            assert_eq!(client.ended(), None);
        }
        // The same, reset before the proxy has read any of the requests.
        let streams: Vec<_> = {
            let mut streams = Vec::new();
            for _ in 0..500 {
                streams.push(client.request("POST", WATCH, &GRPC, false).await);
            }
            streams
        };
        drop(streams);
        let (last, _open) = client.request("POST", RANGE, &GRPC, true).await;
        loop {
            let call = members.call().await;
            if call.path() == RANGE {
                call.answer(b"fine");
                break;
            }
        }
        assert_eq!(last.await.unwrap().status(), 200);
        assert_eq!(client.ended(), None);
    });
}

#[test]
fn a_thousand_watches_live_on_one_client_connection() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = members.proxy().await;
        let serving = members.serve(async |arrival| {
            let Arrival::Http2(call) = arrival else { return };
            let mut reply = call.begin();
            reply.message(b"created");
            // Each message from the client is answered with an event.
            while let Some(Ok(data)) = reply.body.data().await {
                let _ = reply.body.flow_control().release_capacity(data.len());
                reply.message(b"event");
            }
            reply.finish(0, "");
        });
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watches = Vec::new();
        for _ in 0..1000 {
            watches.push(channel.call(WATCH).await.unwrap());
        }
        for watch in &mut watches {
            assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "created");
        }
        for watch in &mut watches {
            watch.send_bytes(b"more", true).unwrap();
        }
        for watch in &mut watches {
            assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "event");
            assert_eq!(watch.next_bytes().await.unwrap(), None);
        }
        assert!(serving.members.connections(0) <= 12, "{}", serving.members.connections(0));
        drop((watches, channel));
        eventually("all connections for watches are closed", PATIENCE, async || {
            serving.members.open_connections() == 0
        })
        .await;
    });
}
