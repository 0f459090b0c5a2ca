//! Members that violate the protocol: their bytes are passed on or the connection is closed, but
//! they are never taken for another answer.

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::grpc::Channel;
use crate::support::http2::{Connection, whole};
use crate::support::members::{Conduct, Members};
use crate::support::rpc::{PUT, RANGE};
use crate::support::{http1, run, shared};

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

#[test]
fn what_a_member_says_unasked_is_no_answer_to_the_next_request() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
        for (round, (now, later)) in [
            // More than the announced answer, in one write.
            (format!("{answer}fineHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), ""),
            (format!("{answer}fine-and-more"), ""),
            // An unrequested answer on an idle connection.
            (format!("{answer}fine"), "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"),
            (format!("{answer}fine"), "x"),
            (format!("{answer}fine"), ""),
        ]
        .into_iter()
        .enumerate()
        {
            client.send_request("GET", "/v2/keys/a", &[], "").await.unwrap();
            let mut exchange = members.exchange().await;
            assert_eq!(exchange.connection, round, "the connection before was used again");
            exchange.send(now).await.unwrap();
            let head = client.head().await.unwrap();
            assert_eq!(head.status, 200);
            assert_eq!(client.body(&head).await.unwrap(), b"fine");
            exchange.send(later).await.unwrap();
            if !later.is_empty() {
                exchange.until_closed_or_idle().await;
            }
            if round == 4 {
                exchange.go_on();
            }
        }
    });
}

#[test]
fn an_answer_with_two_lengths_reaches_the_client_with_one_or_not_at_all() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for answer in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
            "Content-Length: 4\r\nContent-Length: 4\r\n\r\nfine",
            "Content-Length: 4\r\nContent-Length: 5\r\n\r\nfine!",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        ] {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            client.send_request("PUT", "/v2/keys/a", &[], "").await.unwrap();
            let mut exchange = members.exchange().await;
            exchange.send(format!("HTTP/1.1 200 OK\r\n{answer}")).await.unwrap();
            let head = client.head().await.unwrap();
            let framing = ["content-length", "transfer-encoding"];
            let said = head.headers.iter().filter(|(name, _)| framing.contains(&name.as_str()));
            assert_eq!(said.count(), 1, "{head:?} for {answer:?}");
            if head.status == 200 {
                assert_eq!(client.body(&head).await.unwrap(), b"fine");
                // The member must not close the connection now: the next write may be sent on it
                // and would be lost.
                exchange.go_on();
            } else {
                assert_eq!(head.status, 502);
            }
        }
    });
}

#[test]
fn an_answer_that_ends_with_its_connection_passes_whole() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for version in ["HTTP/1.0", "HTTP/1.1"] {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            client.send_request("GET", "/v2/keys/a", &[], "").await.unwrap();
            let mut exchange = members.exchange().await;
            exchange.send(format!("{version} 200 OK\r\n\r\nfine")).await.unwrap();
            drop(exchange);
            let head = client.head().await.unwrap();
            assert_eq!(client.body(&head).await.unwrap(), b"fine");
        }
    });
}

#[test]
fn provisional_answers_are_not_the_answer() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
        let mut exchange = members.exchange().await;
        let provisional =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
        exchange.send(provisional).await.unwrap();
        exchange.body().await.unwrap();
        exchange.answer(200, "fine").await;
        let head = client.head().await.unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(client.body(&head).await.unwrap(), b"fine");
    });
}

#[test]
fn nonsense_is_a_lost_connection() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let plan = members.plan().arguments(&["--proxy-failure-wait", "0"]);
        let proxy = crate::support::members::start(plan).await;
        for nonsense in [
            "banana\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "\0\0\x12\x06\0\0\0\0\0\0\0",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        ] {
            let address = proxy.address.clone();
            let put = async { http1::request(&address, "PUT", "/v2/keys/a", "x").await.unwrap() };
            let (answer, ()) = tokio::join!(put, async {
                let mut exchange = members.exchange().await;
                exchange.body().await.unwrap();
                exchange.send(nonsense).await.unwrap();
            });
            assert_eq!(answer.status, 502, "{nonsense:?}");
            let get = async { http1::request(&address, "GET", "/v2/keys/a", "").await.unwrap() };
            let (answer, ()) = tokio::join!(get, async {
                let mut exchange = members.exchange().await;
                exchange.send(nonsense).await.unwrap();
                members.exchange().await.answer(200, "fine").await;
            });
            assert_eq!(answer.text(), "fine", "{nonsense:?}");
        }
    });
}

#[test]
fn a_member_that_speaks_no_http2_makes_grpc_unavailable_and_no_more() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        members.set_all(Conduct::Raw);
        let channel = Channel::open(&proxy.address).await.unwrap();
        let caller = channel.clone();
        let called = tokio::spawn(async move { caller.unary_bytes(PUT, b"x").await });
        let (_, mut stream) = members.raw().await;
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.unwrap();
        drop(stream);
        let failure = called.await.unwrap().unwrap_err();
        assert_eq!(failure.code(), Some(14), "{failure}");
        assert_eq!(channel.ended(), None);
    });
}

#[test]
fn an_answer_without_grpc_in_it_passes_as_it_is() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        let (response, _stream) = client.request("POST", RANGE, &GRPC, true).await;
        let head = Response::builder().status(404).header("content-type", "text/plain");
        let mut reply = members.call().await.begin_with(head.body(()).unwrap());
        reply.bytes("no such page".into()).await.unwrap();
        reply.stream.send_data("".into(), true).unwrap();
        let answer = whole(response).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (404, &b"no such page"[..]));
        assert!(answer.trailers.is_none());
    });
}

#[test]
fn long_error_texts_pass_in_heads_and_trailers() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        let long: &'static str = "m".repeat(40 * 1024).leak();
        let (response, _stream) = client.request("POST", RANGE, &GRPC, true).await;
        members.call().await.refuse(13, long);
        assert_eq!(response.await.unwrap().headers()["grpc-message"], long);
        let (response, _stream) = client.request("POST", RANGE, &GRPC, true).await;
        let mut reply = members.call().await.begin();
        reply.message(b"one");
        reply.finish(13, long);
        let answer = whole(response).await.unwrap();
        assert_eq!(answer.trailers.unwrap()["grpc-message"], long);
    });
}

#[test]
fn an_early_answer_ends_an_upload_that_nobody_wants() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let length = 64 << 20;
        let head =
            format!("PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        client.send(head).await.unwrap();
        client.send(vec![7; 100_000]).await.unwrap();
        let mut exchange = members.exchange().await;
        // The member reads no more of the body.
        let head = "HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\n";
        exchange.send(format!("{head}big")).await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(head.status, 413);
        assert_eq!(client.body(&head).await.unwrap(), b"big");
        assert!(client.is_closed().await, "the rest of the body is no request");

        let client = Connection::open(&proxy.address).await;
        let (response, mut stream) = client.request("POST", PUT, &GRPC, false).await;
        stream.send_data(vec![7; 100_000].into(), false).unwrap();
        members.call().await.refuse(8, "etcdserver: too large");
        let answer = whole(response).await.unwrap();
        assert_eq!(answer.headers["grpc-status"], "8");
        assert_eq!(client.ended(), None);
        let (response, _stream) = client.request("POST", RANGE, &GRPC, true).await;
        members.call().await.answer(b"fine");
        assert_eq!(response.await.unwrap().status(), 200);
    });
}
