//! What a failure does to a request, on the wire: which members are asked, how often, and what the
//! client receives.

use bytes::Bytes;
use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::grpc::{Channel, Failure};
use crate::support::members::{Conduct, Members};
use crate::support::proxy::Proxy;
use crate::support::rpc::{NOTHING_SENT, PUT, RANGE, WATCH};
use crate::support::{PATIENCE, http1, run, shared};

/// Returns the member that a new client is sent to. No connection to it is left open.
async fn preferred(members: &mut Members, proxy: &Proxy) -> usize {
    let asked = tokio::spawn(ask(proxy.address.clone(), "GET", "/version", ""));
    let mut exchange = members.exchange().await;
    exchange
        .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let member = exchange.member;
    drop(exchange);
    assert_eq!(asked.await.unwrap().status, 200);
    member
}

async fn ask(
    address: String,
    method: &'static str,
    path: &'static str,
    body: &'static str,
) -> http1::Answer {
    http1::request(&address, method, path, body).await.expect("an answer")
}

async fn call(address: String, path: &'static str) -> Result<Bytes, Failure> {
    Channel::open(&address).await?.unary_bytes(path, b"hello").await
}

#[test]
fn a_member_that_refuses_connections_is_passed_over_by_every_kind_of_request() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = crate::support::members::start(
            members.plan().arguments(&["--proxy-failure-wait", "0"]),
        )
        .await;
        let first = preferred(&mut members, &proxy).await;
        members.refuse(first);
        for (method, path) in [
            ("GET", "/v2/keys/a"),
            ("PUT", "/v2/keys/a"),
            ("POST", "/v3/kv/range"),
            ("POST", "/v3/kv/put"),
            ("POST", "/v3/watch"),
        ] {
            let asked = tokio::spawn(ask(proxy.address.clone(), method, path, "{}"));
            let mut exchange = members.exchange().await;
            assert_eq!(exchange.body().await.unwrap(), b"{}", "{method} {path}");
            exchange.answer(200, "fine").await;
            assert_eq!(asked.await.unwrap().text(), "fine", "{method} {path}");
        }
        for path in [RANGE, PUT, WATCH] {
            let called = tokio::spawn(call(proxy.address.clone(), path));
            let mut call = members.call().await;
            assert_eq!(call.read_all().await.unwrap().0, b"\0\0\0\0\x05hello");
            call.answer(b"fine");
            assert_eq!(called.await.unwrap().unwrap(), "fine", "{path}");
        }
    });
}

#[test]
fn a_kept_connection_that_its_member_has_closed_costs_no_request() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        for (round, method) in ["GET", "PUT", "POST", "DELETE", "GET"].into_iter().enumerate() {
            client.send_request(method, "/v2/keys/a", &[], "x").await.unwrap();
            let mut exchange = members.exchange().await;
            assert_eq!(exchange.connection, round);
            assert_eq!(exchange.body().await.unwrap(), b"x");
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            assert_eq!(client.head().await.unwrap().status, 200);
            // The proxy has kept the connection for reuse; now the member closes it.
            drop(exchange);
        }
        assert!(members.is_quiet());
    });
}

#[test]
fn a_get_whose_connection_is_reset_goes_to_the_next_member() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let asked = tokio::spawn(ask(proxy.address.clone(), "GET", "/v2/keys/a", ""));
        let exchange = members.exchange().await;
        let first = exchange.member;
        exchange.reset();
        let exchange = members.exchange().await;
        assert_ne!(exchange.member, first);
        exchange.answer(200, "fine").await;
        assert_eq!(asked.await.unwrap().text(), "fine");
    });
}

#[test]
fn a_json_read_is_sent_again_with_its_body_intact() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let head = "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}5\r\nfirst\r\n")).await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.chunk().await.unwrap().unwrap(), b"first");
        client.send("6\r\nsecond\r\n").await.unwrap();
        assert_eq!(exchange.chunk().await.unwrap().unwrap(), b"second");
        exchange.reset();
        let mut exchange = members.exchange().await;
        client.send("5\r\nthird\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(exchange.body().await.unwrap(), b"firstsecondthird");
        exchange.answer(200, "fine").await;
        let head = client.head().await.unwrap();
        assert_eq!(client.body(&head).await.unwrap(), b"fine");
    });
}

#[test]
fn a_grpc_read_is_sent_again_with_its_body_intact() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut client = channel.call(RANGE).await.unwrap();
        client.send_raw(b"first", false).unwrap();
        let mut call = members.call().await;
        assert_eq!(call.read().await.unwrap(), "first");
        client.send_raw(b"second", false).unwrap();
        assert_eq!(call.read().await.unwrap(), "second");
        let first = call.member;
        call.cut();
        let mut call = members.call().await;
        assert_ne!(call.member, first);
        client.send_raw(b"third", true).unwrap();
        assert_eq!(call.read_all().await.unwrap().0, b"firstsecondthird");
        call.answer(b"fine");
        assert_eq!(client.next_bytes().await.unwrap().unwrap(), "fine");
    });
}

#[test]
fn a_write_whose_connection_is_lost_is_seen_once_and_answered_502() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        for (method, path) in [
            ("PUT", "/v2/keys/a"),
            ("POST", "/v2/keys/a"),
            ("DELETE", "/v2/keys/a"),
            ("POST", "/v3/kv/put"),
            ("POST", "/v3/kv/unheard-of"),
            ("POST", "/v3/watch"),
        ] {
            let asked = tokio::spawn(ask(proxy.address.clone(), method, path, "{}"));
            let mut exchange = members.exchange().await;
            assert_eq!(exchange.body().await.unwrap(), b"{}");
            exchange.reset();
            let answer = asked.await.unwrap();
            assert_eq!(answer.status, 502, "{method} {path}");
            assert!(!answer.text().contains(NOTHING_SENT));
            if path.starts_with("/v3") {
                assert_eq!(answer.json()["code"], 14, "{method} {path}");
            } else {
                let said = "httpproxy: unable to get response from 2 endpoint(s)";
                assert_eq!(answer.json()["message"], said, "{method} {path}");
            }
            assert!(members.is_quiet(), "{method} {path}");
        }
        // The watch does not count as a write.
        let metrics = http1::get(&proxy.address, "/metrics").await.text();
        let count = "etcd_proxy_unanswered_writes_total{reason=\"connection_lost\"} 5";
        assert!(metrics.contains(count), "{metrics}");
        let line = proxy.process.wait_for_line("was not answered and may have been done", PATIENCE);
        assert!(line.is_some_and(|line| line.contains("member=")), "{}", proxy.story());
    });
}

#[test]
fn a_write_on_a_kept_connection_that_is_lost_is_seen_once() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.body().await.unwrap(), b"x");
        exchange.answer(200, "").await;
        assert_eq!(client.head().await.unwrap().status, 200);
        client.send_request("PUT", "/v2/keys/a", &[], "y").await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.connection, 0);
        assert_eq!(exchange.body().await.unwrap(), b"y");
        drop(exchange);
        assert_eq!(client.head().await.unwrap().status, 502);
        assert!(members.is_quiet());
    });
}

#[test]
fn a_grpc_write_or_stream_whose_connection_is_lost_is_seen_once_and_unavailable() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        for path in [PUT, WATCH, "/etcdserverpb.Lease/LeaseKeepAlive", "/some.New/Method"] {
            let called = tokio::spawn(call(proxy.address.clone(), path));
            let mut call = members.call().await;
            call.read_all().await.unwrap();
            call.cut();
            let failure = called.await.unwrap().unwrap_err();
            assert_eq!(failure.code(), Some(14), "{path}: {failure}");
            assert!(!failure.to_string().contains(NOTHING_SENT), "{path}: {failure}");
            assert!(members.is_quiet(), "{path}");
        }
    });
}

#[test]
fn a_refused_stream_goes_to_the_next_member_whatever_it_is() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        for path in [RANGE, PUT, WATCH] {
            let called = tokio::spawn(call(proxy.address.clone(), path));
            let call = members.call().await;
            let first = call.member;
            call.reset(Reason::REFUSED_STREAM);
            let mut call = members.call().await;
            assert_ne!(call.member, first, "{path}");
            assert_eq!(call.read_all().await.unwrap().0, b"\0\0\0\0\x05hello");
            call.answer(b"fine");
            assert_eq!(called.await.unwrap().unwrap(), "fine", "{path}");
        }
    });
}

#[test]
fn a_stream_that_every_member_refuses_may_be_sent_again_by_the_client() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let called = tokio::spawn(call(proxy.address.clone(), PUT));
        for _ in 0..2 {
            members.call().await.reset(Reason::REFUSED_STREAM);
        }
        let failure = called.await.unwrap().unwrap_err();
        assert_eq!(failure, Failure::Status { code: 14, message: NOTHING_SENT.to_owned() });
        assert!(members.is_quiet());
    });
}

/// Reads HTTP/2 frames until one opens a stream. Returns the stream's ID.
async fn read_to_headers(stream: &mut TcpStream) -> u32 {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    // Our SETTINGS, and the acknowledgement of the proxy's.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
    loop {
        let (kind, id) = read_frame(stream).await;
        if kind == 1 {
            return id;
        }
    }
}

async fn read_frame(stream: &mut TcpStream) -> (u8, u32) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    (head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]))
}

/// Reads frames until the end of what the client sends on a stream.
async fn read_to_end_of(stream: &mut TcpStream, wanted: u32) {
    while read_frame(stream).await != (0, wanted) {}
}

async fn go_away(stream: &mut TcpStream, last: u32) {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend(last.to_be_bytes());
    frame.extend([0; 4]);
    stream.write_all(&frame).await.unwrap();
}

#[test]
fn a_stream_above_goaways_last_id_goes_to_the_next_member() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        for path in [RANGE, PUT, WATCH] {
            members.set_all(Conduct::Raw);
            let called = tokio::spawn(call(proxy.address.clone(), path));
            let (first, mut stream) = members.raw().await;
            read_to_headers(&mut stream).await;
            members.set_all(Conduct::Serve);
            go_away(&mut stream, 0).await;
            let mut call = members.call().await;
            assert_ne!(call.member, first, "{path}");
            assert_eq!(call.read_all().await.unwrap().0, b"\0\0\0\0\x05hello");
            call.answer(b"fine");
            assert_eq!(called.await.unwrap().unwrap(), "fine", "{path}");
            // The kept connection to the second member would serve the next call.
            members.set_all(Conduct::Serve);
        }
    });
}

#[test]
fn a_write_that_goaway_promised_to_finish_is_not_sent_again_when_it_is_not_finished() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        members.set_all(Conduct::Raw);
        let called = tokio::spawn(call(proxy.address.clone(), PUT));
        let (_, mut stream) = members.raw().await;
        let id = read_to_headers(&mut stream).await;
        read_to_end_of(&mut stream, id).await;
        go_away(&mut stream, id).await;
        stream.shutdown().await.unwrap();
        let failure = called.await.unwrap().unwrap_err();
        assert_eq!(failure.code(), Some(14), "{failure}");
        assert!(!failure.to_string().contains(NOTHING_SENT), "{failure}");
        assert!(members.is_quiet());
    });
}

#[test]
fn a_call_in_flight_at_a_graceful_goaway_is_finished_and_the_next_one_moves() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let (one, other) = (channel.clone(), channel.clone());
        let first = tokio::spawn(async move { one.unary_bytes(PUT, b"one").await });
        let mut call = members.call().await;
        call.read_all().await.unwrap();
        call.go_away();
        // The connection sends a GOAWAY, and a second one as soon as its PING has come back.
        crate::support::eventually("a new connection", PATIENCE, async || {
            let other = other.clone();
            let asked = tokio::spawn(async move { other.unary_bytes(RANGE, b"").await });
            let second = members.call().await;
            let moved = second.connection > 0;
            second.answer(b"two");
            assert_eq!(asked.await.unwrap().unwrap(), "two");
            moved
        })
        .await;
        call.answer(b"done");
        assert_eq!(first.await.unwrap().unwrap(), "done");
    });
}

#[test]
fn a_reset_with_another_code_before_the_head_is_never_answered_with_a_second_write() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
            let client = crate::support::http2::Connection::open(&proxy.address).await;
            let head = [("content-type", "application/grpc"), ("te", "trailers")];
            let (response, _stream) = client.request("POST", PUT, &head, true).await;
            let mut call = members.call().await;
            call.read_all().await.unwrap();
            call.reset(reason);
            // The client gets the member's own reset. It does not say that a connection was lost,
            // and it has no status on which clients retry.
            let error = match response.await {
                Err(error) => error,
                Ok(answer) => {
                    assert!(!answer.headers().contains_key("grpc-status"), "{answer:?}");
                    crate::support::http2::next(&mut answer.into_body()).await.unwrap_err()
                }
            };
            assert_eq!((error.is_remote(), error.reason()), (true, Some(reason)));
            assert_eq!(client.ended(), None);
            assert!(members.is_quiet());
        }
        assert_eq!(members.open_connections(), 1, "a reset must not cost the connection");
    });
}

#[test]
fn a_read_that_every_member_resets_ends_with_the_reset_of_the_last() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let called = tokio::spawn(call(proxy.address.clone(), RANGE));
        for _ in 0..2 {
            members.call().await.reset(Reason::PROTOCOL_ERROR);
        }
        let failure = called.await.unwrap().unwrap_err();
        assert_eq!(failure.code(), None, "{failure}");
        assert!(members.is_quiet());
    });
}

#[test]
fn a_read_whose_leader_changed_goes_to_the_next_member_once_and_a_write_stays() {
    let _machine = shared();
    run(async {
        const CHANGED: &str = "etcdserver: leader changed";
        let mut members = Members::start(3).await;
        let proxy = members.proxy().await;
        // In the head alone or in trailers after it, as members send it without TLS and with TLS.
        for in_head in [true, false] {
            let refuse = |call: crate::support::members::http2::Call| match in_head {
                true => call.refuse(14, CHANGED),
                false => call.begin().finish(14, CHANGED),
            };
            let called = tokio::spawn(call(proxy.address.clone(), RANGE));
            let first = members.call().await;
            let member = first.member;
            refuse(first);
            let second = members.call().await;
            assert_ne!(second.member, member);
            second.answer(b"fine");
            assert_eq!(called.await.unwrap().unwrap(), "fine");

            let called = tokio::spawn(call(proxy.address.clone(), RANGE));
            refuse(members.call().await);
            refuse(members.call().await);
            let failure = called.await.unwrap().unwrap_err();
            assert_eq!(failure.to_string(), format!("status 14: {CHANGED}"));

            let called = tokio::spawn(call(proxy.address.clone(), PUT));
            refuse(members.call().await);
            let failure = called.await.unwrap().unwrap_err();
            assert_eq!(failure.to_string(), format!("status 14: {CHANGED}"));
            assert!(members.is_quiet());
        }
    });
}

#[test]
fn a_reset_after_the_head_reaches_the_client_with_its_code() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
            let client = crate::support::http2::Connection::open(&proxy.address).await;
            let head = [("content-type", "application/grpc"), ("te", "trailers")];
            let (response, _stream) = client.request("POST", WATCH, &head, true).await;
            let mut reply = members.call().await.begin();
            reply.message(b"one");
            let mut body = response.await.unwrap().into_body();
            let part = crate::support::http2::next(&mut body).await.unwrap().unwrap();
            assert_eq!(part, "\0\0\0\0\x03one");
            reply.reset(reason);
            let error = crate::support::http2::next(&mut body).await.unwrap_err();
            assert_eq!(error.reason(), Some(reason));
        }
    });
}

#[test]
fn a_body_too_large_to_be_kept_passes_whole_and_is_not_sent_again() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        for loses in [false, true] {
            let channel = Channel::open(&proxy.address).await.unwrap();
            let message = large.clone();
            let called = tokio::spawn(async move { channel.unary_bytes(RANGE, &message).await });
            let mut call = members.call().await;
            let (body, _) = call.read_all().await.unwrap();
            assert!(body[5..] == large[..], "the body was changed on its way");
            if loses {
                call.cut();
                let failure = called.await.unwrap().unwrap_err();
                assert_eq!(failure.code(), Some(14), "{failure}");
                assert!(!failure.to_string().contains(NOTHING_SENT), "{failure}");
            } else {
                call.answer(b"fine");
                assert_eq!(called.await.unwrap().unwrap(), "fine");
            }
            assert!(members.is_quiet());
        }
    });
}

#[test]
fn a_chunked_answer_that_is_cut_never_ends_cleanly() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for resets in [false, true] {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            client.send_request("GET", "/v2/keys/a?wait=true", &[], "").await.unwrap();
            let mut exchange = members.exchange().await;
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            exchange.send(format!("{head}4\r\npart\r\n")).await.unwrap();
            assert_eq!(client.head().await.unwrap().status, 200);
            assert_eq!(client.chunk().await.unwrap().unwrap(), b"part");
            if resets {
                exchange.reset();
            } else {
                drop(exchange);
            }
            assert!(client.chunk().await.is_err(), "a clean end");
        }
    });
}

#[test]
fn an_answer_shorter_than_its_content_length_is_cut_for_the_client_too() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("GET", "/v2/keys/a", &[], "").await.unwrap();
        let mut exchange = members.exchange().await;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
        let head = client.head().await.unwrap();
        drop(exchange);
        assert_eq!(head.header("content-length"), Some("10"));
        assert!(client.body(&head).await.is_err());
        assert!(client.is_closed().await);
    });
}

#[test]
fn an_http1_answer_that_is_cut_resets_the_stream_of_an_http2_client() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = crate::support::http2::Connection::open(&proxy.address).await;
        let (response, _stream) = client.request("GET", "/v2/keys/a", &[], true).await;
        let mut exchange = members.exchange().await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.send(format!("{head}4\r\npart\r\n")).await.unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(crate::support::http2::next(&mut body).await.unwrap().unwrap(), "part");
        drop(exchange);
        let error = crate::support::http2::next(&mut body).await.unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
    });
}

#[test]
fn a_grpc_stream_that_is_cut_ends_with_unavailable() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut client = channel.call(WATCH).await.unwrap();
        client.send_bytes(b"create", false).unwrap();
        let mut reply = members.call().await.begin();
        reply.message(b"created");
        assert_eq!(client.next_bytes().await.unwrap().unwrap(), "created");
        reply.cut();
        let failure = client.next_bytes().await.unwrap_err();
        assert_eq!(failure.code(), Some(14), "{failure}");
        assert_eq!(channel.ended(), None, "the client's connection must stay");
    });
}

#[test]
fn a_client_that_breaks_off_its_upload_is_not_held_against_the_member() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        for path in ["/v2/keys/a", "/v3/kv/put", "/v3/kv/range"] {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
            client.send(head).await.unwrap();
            let mut exchange = members.exchange().await;
            assert_eq!(exchange.exactly(4).await.unwrap(), b"half");
            drop(client);
            exchange.until_closed().await;
            assert!(members.is_quiet(), "{path}");
        }
        let endpoints = http1::get(&proxy.address, "/v2/config/local/proxy").await.json();
        assert_eq!(endpoints["endpoints"].as_array().map(Vec::len), Some(2), "{endpoints}");
    });
}
