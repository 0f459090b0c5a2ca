//! Requests that two parsers could read differently are refused, and none of our own answers leaves
//! bytes of a body to be read as a request.

use crate::support::http2::Connection;
use crate::support::members::Members;
use crate::support::rpc::{PUT, RANGE};
use crate::support::{PATIENCE, eventually, http1, run, shared};

/// Sends these bytes. Returns the status of the answer and whether the connection is closed after
/// it.
async fn status_of(address: &str, bytes: &str) -> (u16, bool) {
    let mut client = http1::Connection::open(address).await.unwrap();
    client.send(bytes).await.unwrap();
    let Ok(head) = client.head().await else { return (0, true) };
    let _ = client.body(&head).await;
    (head.status, client.is_closed().await)
}

#[test]
fn ambiguous_requests_are_refused_and_their_connection_is_closed() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let put = "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\n";
        let chunks = "0\r\n\r\n";
        for bytes in [
            format!(
                "{put}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
            format!("{put}Transfer-Encoding: gzip, chunked\r\n\r\n{chunks}"),
            format!("{put}Transfer-Encoding: identity\r\n\r\n{chunks}"),
            format!("{put}Transfer-Encoding: xchunked\r\n\r\n{chunks}"),
            format!("{put}Transfer-Encoding: \x0bchunked\r\n\r\n{chunks}"),
            format!("{put}Transfer-Encoding : chunked\r\n\r\n{chunks}"),
            format!("{put}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            format!("{put}Content-Length: 5, 6\r\n\r\nhello"),
            format!("{put}Content-Length: +5\r\n\r\nhello"),
            format!("{put}Content-Length: -1\r\n\r\nhello"),
            format!("{put}Content-Length: 0x5\r\n\r\nhello"),
            format!("{put}X: a\r\n Content-Length: 5\r\n\r\nhello"),
            "PUT /v2/keys/a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            "GET /v2/keys/a HTTP/1.1\r\n\r\n".to_owned(),
            "GET /v2/keys/a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(),
            "GET /v2/keys/a HTTP/1.1\r\nHost:\r\n\r\n".to_owned(),
            "GET /v2/keys/a HTTP/1.1\r\nHost: a, b\r\n\r\n".to_owned(),
            "GET /v2/keys/a HTTP/1.1\r\nHost: me@a\r\n\r\n".to_owned(),
            "GET /v2/keys/a HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(),
            "GET v2/keys/a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(),
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET /v2/keys/a HTTP/3.7\r\nHost: a\r\n\r\n".to_owned(),
            "GET /v2/keys/a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "\x16\x03\x01\x02\x00 this is TLS\r\n\r\n".to_owned(),
        ] {
            let (status, closed) = status_of(&proxy.address, &bytes).await;
            assert!((400..500).contains(&status) || status == 0, "{status} for {bytes:?}");
            assert!(closed, "open after {bytes:?}");
        }
        assert!(members.is_quiet(), "none of them reaches a member");
    });
}

#[test]
fn a_length_beside_chunks_does_not_count_and_ends_the_connection() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let smuggled = "DELETE /v2/keys/b HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}4\r\nbody\r\n0\r\n\r\n{smuggled}")).await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.header("content-length"), None);
        assert_eq!(exchange.header("transfer-encoding"), Some("chunked"));
        assert_eq!(exchange.body().await.unwrap(), b"body");
        exchange.answer(200, "fine").await;
        let head = client.head().await.unwrap();
        assert_eq!(client.body(&head).await.unwrap(), b"fine");
        assert!(client.is_closed().await);
        assert!(members.is_quiet(), "the bytes that followed were no request");
    });
}

#[test]
fn a_length_said_twice_alike_reaches_the_member_once() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let head =
            "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n";
        client.send(format!("{head}body")).await.unwrap();
        tokio::select! {
            head = client.head() => assert_eq!(head.unwrap().status, 400),
            mut exchange = members.exchange() => {
                assert_eq!(exchange.header("content-length"), Some("4"));
                assert_eq!(exchange.body().await.unwrap(), b"body");
            }
        }
    });
}

#[test]
fn an_absolute_target_goes_to_the_member_in_origin_form() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send("GET http://other:1/v2/keys/a?b=c HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let exchange = members.exchange().await;
        assert_eq!(exchange.target(), "/v2/keys/a?b=c");
        assert_eq!(exchange.header("host"), Some(members.address(0).as_str()));
        exchange.answer(200, "").await;
        assert_eq!(client.head().await.unwrap().status, 200);
    });
}

#[test]
fn http2_requests_that_http1_could_not_carry_reach_no_member() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for (method, headers) in [
            ("GET", &[("host", "other")][..]),
            ("PUT", &[("content-length", "3"), ("content-length", "4")]),
        ] {
            let client = Connection::open(&proxy.address).await;
            let answer = client.exchange(method, "/v2/keys/a", headers, b"").await;
            if let Ok(answer) = answer {
                assert!((400..500).contains(&answer.status), "{answer:?} for {headers:?}");
            }
        }
        let client = Connection::open(&proxy.address).await;
        // Announces four bytes and sends five.
        let (response, mut stream) =
            client.request("PUT", "/v2/keys/a", &[("content-length", "4")], false).await;
        let mut exchange = members.exchange().await;
        // The stream may already be reset.
        let _ = stream.send_data(bytes::Bytes::from_static(b"12345"), true);
        exchange.until_closed().await;
        assert!(response.await.is_err());
        assert!(members.is_quiet());
    });
}

#[test]
fn a_reply_of_our_own_leaves_no_byte_of_the_body_to_be_read_as_a_request() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.start_proved(members.plan().mode("readonly")).await;
        let smuggled = "GET /v2/keys/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in [smuggled.len(), 10 << 20] {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            let head =
                format!("PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            client.send(head).await.unwrap();
            let answer = client.head().await.unwrap();
            assert_eq!(answer.status, 501);
            let body = client.body(&answer).await.unwrap();
            assert_eq!(body, b"");
            // The rest may be drained or the connection closed, but these bytes are never a
            // request.
            let _ = client.send(smuggled).await;
            if length == smuggled.len() {
                let _ = client.send("GET /v2/keys/honest HTTP/1.1\r\nHost: a\r\n\r\n").await;
                tokio::select! {
                    exchange = members.exchange() => assert_eq!(exchange.target(), "/v2/keys/honest"),
                    closed = client.is_closed() => assert!(closed),
                }
            } else {
                assert!(client.is_closed().await);
            }
            assert!(members.is_quiet());
        }
        let client = Connection::open(&proxy.address).await;
        let head = [("content-type", "application/grpc"), ("te", "trailers")];
        let (response, mut stream) = client.request("POST", PUT, &head, false).await;
        stream.send_data(bytes::Bytes::from(vec![0; 100_000]), false).unwrap();
        let answer = crate::support::http2::whole(response).await.unwrap();
        assert_eq!(answer.headers["grpc-status"], "12");
        drop(stream);
        let (response, _stream) = client.request("POST", RANGE, &head, true).await;
        members.call().await.answer(b"fine");
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn a_client_that_expects_100_and_is_refused_is_not_asked_for_its_body() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.start_proved(members.plan().mode("readonly")).await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        client.send(head).await.unwrap();
        assert_eq!(client.head().await.unwrap().status, 501);
        // Either the connection is closed, or these bytes are the announced body; they are never a
        // request.
        let _ = client.send("GET /v2/keys/smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.is_closed().await);
        assert!(members.is_quiet());
    });
}

#[test]
fn a_txn_that_stops_half_way_is_given_up_by_a_readonly_proxy() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.start_proved(members.plan().mode("readonly")).await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let head = "POST /v3/kv/txn HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{";
        client.send(head).await.unwrap();
        assert_eq!(client.head().await.unwrap().status, 400);
        assert!(members.is_quiet());
    });
}

/// Covers requests that hyper refuses, requests that we refuse, and broken HTTP/2. The log line
/// must not repeat the client's bytes.
#[test]
fn malformed_requests_are_counted_and_leave_a_line_that_says_where() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = members.proxy().await;
        for bytes in [
            "GET /s3cret HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET /s3cret HTTP/1.1\r\nHost: a\r\nX-S3cret : a\r\n\r\n",
            "PUT /s3cret HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ns3cret",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\0\0\0\0\x07",
        ] {
            status_of(&proxy.address, bytes).await;
        }
        let counted = async || {
            let page = http1::get(&proxy.address, "/metrics").await.text();
            page.contains("etcd_proxy_malformed_requests_total 4")
        };
        eventually("four are counted", PATIENCE, counted).await;
        for text in ["names more than one Host", "invalid HTTP header", "chunked body", "HTTP/2: "]
        {
            let line = proxy.process.wait_for_line(text, PATIENCE);
            let line = line.unwrap_or_else(|| panic!("no {text:?} in {}", proxy.story()));
            assert!(line.contains(&format!("listener={}", proxy.address)), "{line}");
        }
        assert!(!proxy.story().contains("3cret"), "{}", proxy.story());
    });
}

/// Bodies that violate RFC 9112 section 7.1, each to be followed by two requests.
const BROKEN_BODIES: [&str; 16] = [
    "2\r\n{}\r\n0\r\nx: y\n\r\n",
    "2\r\n{}\r\n0\r\nx: y\n\n",
    "2\r\n{}\r\n0\r\nx: y\r\r\n\r\n",
    "2\r\n{}\r\n0\r\nx: a\0b\r\n\r\n",
    "2\r\n{}\r\n0\r\nx : y\r\n\r\n",
    "2\r\n{}\r\n0\r\nx: y\r\n z\r\n\r\n",
    "2\r\n{}\r\n0\r\n: y\r\n\r\n",
    "2\r\n{}\r\n0\r\nx\r\n\r\n",
    "2\r\n{}\r\n0\r\n\n",
    "2\r\n{}\r\n0\n\r\n",
    "2\n{}\r\n0\r\n\r\n",
    "2\r\n{}\n0\r\n\r\n",
    "2 \r\n{}\r\n0\r\n\r\n",
    "2;a\0b\r\n{}\r\n0\r\n\r\n",
    "2;a=\"\n\"\r\n{}\r\n0\r\n\r\n",
    "00000000000000002\r\n{}\r\n0\r\n\r\n",
];

#[test]
fn a_request_behind_a_broken_chunked_body_is_neither_swallowed_nor_answered() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let next = "GET /v2/keys/first HTTP/1.1\r\nHost: a\r\n\r\nGET /v2/keys/second HTTP/1.1\r\nHost: a\r\n\r\n";
        for body in BROKEN_BODIES {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            let head =
                "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            client.send(format!("{head}{body}{next}")).await.unwrap();
            let answer = tokio::select! {
                answer = client.head() => answer.unwrap(),
                () = async {
                    loop {
                        let mut exchange = members.exchange().await;
                        assert_eq!(exchange.target(), "/v3/kv/range", "{body:?}");
                        assert!(exchange.body().await.is_err(), "{body:?} was taken for complete");
                    }
                } => unreachable!(),
            };
            assert_eq!(answer.status, 400, "{body:?}");
            client.body(&answer).await.unwrap();
            assert!(client.is_closed().await, "open after {body:?}");
        }
    });
}

#[test]
fn a_line_of_a_head_that_ends_in_a_bare_line_feed_is_refused() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for bytes in [
            "GET /v2/keys/a HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
            "GET /v2/keys/a HTTP/1.1\nHost: a\r\n\r\n",
            "GET /v2/keys/a HTTP/1.1\nHost: a\n\n",
            "GET /v2/keys/a HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET /v2/keys/a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /v2/keys/a HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
            "GET /v2/keys/a HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
            "GET /v2/keys/a HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
            "GET  /v2/keys/a HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(status_of(&proxy.address, bytes).await, (400, true), "{bytes:?}");
        }
        assert!(members.is_quiet(), "none of them reaches a member");
    });
}

#[test]
fn chunk_extensions_and_trailers_in_their_right_form_pass() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [
            "4;a;b=c; d = \"e \\\" f\" ;g\r\nbody\r\n000;h\r\nx: y\r\nempty:\r\ntab:\tz \r\n\r\n",
            "2\r\nbo\r\n02\r\ndy\r\n0\r\n\r\n",
        ] {
            for byte in format!("{head}{body}").as_bytes() {
                client.send([*byte]).await.unwrap();
            }
            let mut exchange = members.exchange().await;
            assert_eq!(exchange.body().await.unwrap(), b"body");
            exchange.answer(200, "fine").await;
            let answer = client.head().await.unwrap();
            assert_eq!(client.body(&answer).await.unwrap(), b"fine");
        }
    });
}
