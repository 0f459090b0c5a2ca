//! The member receives exactly what the client sent, and the client what the member sent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::support::grpc::Channel;
use crate::support::http2::{Connection, next};
use crate::support::members::{Members, http2::framed};
use crate::support::rpc::{RANGE, WATCH};
use crate::support::{exclusive, http1, meter, run, shared};

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

#[test]
fn an_http1_request_arrives_as_it_was_but_for_what_belongs_to_a_hop() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let token = "t".repeat(20 * 1024);
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let sent = format!(
            "PUT /v2/keys/a%20b//c;d?prevValue=%7B1%7D&x HTTP/1.1\r\nHost: etcd.test\r\n\
             Connection: keep-alive, X-Private\r\nKeep-Alive: 5\r\nX-Private: 1\r\nProxy-Authorization: secret\r\n\
             Proxy-Connection: keep-alive\r\nTE: gzip\r\nX-Forwarded-For: 10.0.0.1\r\nAuthorization: {token}\r\n\
             traceparent: 00-1-2-01\r\ntracestate: a=b\r\nbaggage: k=v\r\nContent-Type: text/x\r\nContent-Length: 2\r\n\r\nhi"
        );
        client.send(sent).await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.first_line, "PUT /v2/keys/a%20b//c;d?prevValue=%7B1%7D&x HTTP/1.1");
        for (name, expected) in [
            ("host", Some(members.address(0).as_str())),
            ("x-forwarded-for", Some("10.0.0.1, 127.0.0.1")),
            ("authorization", Some(token.as_str())),
            ("traceparent", Some("00-1-2-01")),
            ("tracestate", Some("a=b")),
            ("baggage", Some("k=v")),
            ("content-type", Some("text/x")),
            ("content-length", Some("2")),
            ("connection", None),
            ("keep-alive", None),
            ("x-private", None),
            ("proxy-authorization", None),
            ("proxy-connection", None),
            ("te", None),
            ("transfer-encoding", None),
        ] {
            assert_eq!(exchange.header(name), expected, "{name}");
        }
        assert_eq!(exchange.body().await.unwrap(), b"hi");
        let head = "HTTP/1.1 201 Created\r\nX-Etcd-Index: 7\r\nX-Two: a\r\nX-Two: b\r\nConnection: X-Hop\r\nX-Hop: 1\r\n";
        exchange.send(format!("{head}Content-Length: 2\r\n\r\nok")).await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(head.status, 201);
        assert_eq!(head.header("x-etcd-index"), Some("7"));
        let two: Vec<_> = head.headers.iter().filter(|(name, _)| name == "x-two").collect();
        assert_eq!(two.len(), 2);
        assert_eq!((head.header("x-hop"), head.header("connection")), (None, None));
        assert_eq!(client.body(&head).await.unwrap(), b"ok");
    });
}

#[test]
fn a_grpc_request_arrives_with_its_metadata_and_for_the_members_authority() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        let token = "t".repeat(20 * 1024);
        let sent = [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("token", token.as_str()),
            ("hasleader", "true"),
            ("grpc-timeout", "5S"),
            ("grpc-accept-encoding", "gzip"),
            ("user-agent", "tests"),
            ("trace-bin", "AAE="),
            ("traceparent", "00-1-2-01"),
        ];
        let (response, _stream) = client.request("POST", RANGE, &sent, true).await;
        let call = members.call().await;
        for (name, value) in sent {
            assert_eq!(call.head.headers()[name], value, "{name}");
        }
        assert_eq!(call.head.headers()["x-forwarded-for"], "127.0.0.1");
        assert_eq!(call.head.uri().authority().unwrap().as_str(), members.address(0));
        assert_eq!(call.head.uri().scheme_str(), Some("http"));
        call.refuse(5, "etcdserver: not here %25");
        let head = response.await.unwrap();
        assert_eq!(head.headers()["grpc-status"], "5");
        assert_eq!(head.headers()["grpc-message"], "etcdserver: not here %25");
        assert!(head.body().is_end_stream(), "a trailers-only answer stays one");
    });
}

#[test]
fn http2_trailers_pass_both_ways() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        for path in [RANGE, WATCH] {
            let (response, mut stream) = client.request("POST", path, &GRPC, false).await;
            stream.send_data(Bytes::from_static(b"body"), false).unwrap();
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("x-end"),
                HeaderValue::from_static("1"),
            )]);
            stream.send_trailers(trailers).unwrap();
            let mut call = members.call().await;
            let (body, trailers) = call.read_all().await.unwrap();
            assert_eq!(body, b"body");
            assert_eq!(trailers.expect("trailers")["x-end"], "1");
            let mut reply = call.begin();
            reply.message(b"one");
            reply.finish(9, "etcdserver: told");
            let mut body = response.await.unwrap().into_body();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), framed(b"one"));
            assert!(next(&mut body).await.unwrap().is_none());
            let trailers = body.trailers().await.unwrap().expect("trailers");
            assert_eq!(trailers["grpc-status"], "9");
            assert_eq!(trailers["grpc-message"], "etcdserver: told");
        }
    });
}

#[test]
fn http1_trailers_pass_both_ways() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let head = "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-End\r\n";
        let body = "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-End: 1\r\n\r\n";
        client.send(format!("{head}{body}")).await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.header("te"), Some("trailers"));
        let (body, trailers) = exchange.body_and_trailers().await.unwrap();
        assert_eq!(body, b"body");
        assert_eq!(trailers, ["x-end: 1"]);
        let head =
            "HTTP/1.1 200 OK\r\nTrailer: Grpc-Trailer-X\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.send(format!("{head}2\r\nok\r\n0\r\nGrpc-Trailer-X: 2\r\n\r\n")).await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(head.header("trailer").map(str::to_ascii_lowercase).unwrap(), "grpc-trailer-x");
        assert_eq!(client.chunk().await.unwrap().unwrap(), b"ok");
        let end = client.exactly(b"0\r\ngrpc-trailer-x: 2\r\n\r\n".len()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&end), "0\r\ngrpc-trailer-x: 2\r\n\r\n");
    });
}

#[test]
fn a_half_closed_stream_goes_on_receiving() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        watch.send_bytes(b"create", false).unwrap();
        let mut reply = members.call().await.begin();
        reply.message(b"created");
        assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "created");
        watch.finish().unwrap();
        assert_eq!(reply.body.data().await.unwrap().unwrap(), framed(b"create"));
        while let Some(data) = reply.body.data().await {
            assert_eq!(data.unwrap(), "", "nothing but the half-close reaches the member");
        }
        for event in [&b"one"[..], b"two"] {
            reply.message(event);
            assert_eq!(watch.next_bytes().await.unwrap().unwrap(), event);
        }
        reply.finish(0, "");
        assert_eq!(watch.next_bytes().await.unwrap(), None);
    });
}

#[test]
fn a_member_may_answer_before_the_client_has_sent_all() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let mut reply = members.call().await.begin();
        for round in 0..5 {
            let text = format!("round {round}");
            reply.message(text.as_bytes());
            assert_eq!(watch.next_bytes().await.unwrap().unwrap(), text);
            watch.send_bytes(text.as_bytes(), false).unwrap();
            assert_eq!(reply.body.data().await.unwrap().unwrap(), framed(text.as_bytes()));
        }
        reply.finish(0, "");
        assert_eq!(watch.next_bytes().await.unwrap(), None);
    });
}

/// Returns the median of these times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn an_event_reaches_the_client_at_once_while_the_answer_goes_on() {
    let _machine = exclusive();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;

        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("GET", "/v2/keys/a?wait=true&stream=true", &[], "").await.unwrap();
        let mut exchange = members.exchange().await;
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        assert_eq!(client.head().await.unwrap().status, 200, "the head comes before any event");
        let mut times = Vec::new();
        for _ in 0..11 {
            let sent = Instant::now();
            exchange.send("5\r\nevent\r\n").await.unwrap();
            assert_eq!(client.chunk().await.unwrap().unwrap(), b"event");
            times.push(sent.elapsed());
        }
        assert!(median(times) < Duration::from_millis(100));

        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let mut reply = members.call().await.begin();
        watch.head().await.unwrap();
        let mut times = Vec::new();
        for _ in 0..11 {
            let sent = Instant::now();
            reply.message(b"event");
            assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "event");
            times.push(sent.elapsed());
        }
        assert!(median(times) < Duration::from_millis(100));
    });
}

#[test]
fn answers_without_a_body_stay_without_one() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        for (method, answer, status, length) in [
            ("HEAD", "200 OK\r\nContent-Length: 1000", 200, Some("1000")),
            ("GET", "204 No Content", 204, None),
            ("GET", "304 Not Modified\r\nETag: 1", 304, None),
            ("GET", "200 OK\r\nContent-Length: 0", 200, Some("0")),
        ] {
            client.send_request(method, "/v2/keys/a", &[], "").await.unwrap();
            let mut exchange = members.exchange().await;
            assert!(exchange.first_line.starts_with(method));
            exchange.send(format!("HTTP/1.1 {answer}\r\n\r\n")).await.unwrap();
            // The next answer follows directly, so no byte of a body came after the head.
            let head = client.head().await.unwrap();
            assert_eq!(head.status, status, "{method} {answer}");
            assert_eq!(head.header("content-length"), length, "{method} {answer}");
            assert_eq!(head.header("transfer-encoding"), None, "{method} {answer}");
            exchange.go_on();
        }
        assert_eq!(members.connections(0), 1, "each answer must leave it usable");
    });
}

#[test]
fn a_head_request_over_http2_gets_no_body_from_anybody() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        let (response, _stream) = client.request("HEAD", "/v2/keys/a", &[], true).await;
        let mut exchange = members.exchange().await;
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
        let answer = crate::support::http2::whole(response).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.headers["content-length"], "1000");
        for path in ["/metrics", "/proxy/health", "/proxy/status"] {
            let answer = client.exchange("HEAD", path, &[], b"").await.unwrap();
            assert_eq!(answer.body.len(), 0, "{path}");
        }
    });
}

#[test]
fn a_client_that_expects_100_gets_it_and_the_member_sees_no_expectation() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        client.send(head).await.unwrap();
        assert_eq!(client.head().await.unwrap().status, 100);
        client.send("body").await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.header("expect"), None);
        assert_eq!(exchange.body().await.unwrap(), b"body");
        exchange.answer(200, "fine").await;
        let head = client.head().await.unwrap();
        assert_eq!(client.body(&head).await.unwrap(), b"fine");
    });
}

#[test]
fn json_over_http2_arrives_as_http1_with_its_cookies_joined() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let client = Connection::open(&proxy.address).await;
        let headers = [("content-type", "application/json"), ("cookie", "a=1"), ("cookie", "b=2")];
        let (response, mut stream) = client.request("POST", "/v3/kv/range", &headers, false).await;
        stream.send_data(Bytes::from_static(b"{}"), true).unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.first_line, "POST /v3/kv/range HTTP/1.1");
        assert_eq!(exchange.header("host"), Some(members.address(0).as_str()));
        assert_eq!(exchange.header("cookie"), Some("a=1; b=2"));
        assert_eq!(exchange.body().await.unwrap(), b"{}");
        exchange
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine")
            .await
            .unwrap();
        let answer = crate::support::http2::whole(response).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"fine"[..]));
        assert!(!answer.headers.contains_key("connection"));
    });
}

#[test]
fn an_http10_client_is_served() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send("GET /version HTTP/1.0\r\n\r\n").await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.first_line, "GET /version HTTP/1.1");
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.send(format!("{head}4\r\nfine\r\n0\r\n\r\n")).await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(head.header("transfer-encoding"), None);
        assert_eq!(client.body(&head).await.unwrap(), b"fine");
    });
}

const MEBIBYTE: usize = 1 << 20;
const LARGE: usize = 64 * MEBIBYTE;

#[test]
fn sixty_four_mebibytes_stream_each_way_without_being_held() {
    let _machine = exclusive();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let block: &'static [u8] = vec![7; MEBIBYTE].leak();
        let before = meter::resident_bytes(proxy.process.pid());

        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let head = format!("PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
        client.send(head).await.unwrap();
        let mut exchange = members.exchange().await;
        let upload = async {
            for _ in 0..LARGE / MEBIBYTE {
                client.send(block).await.unwrap();
            }
        };
        let (_, received) = tokio::join!(upload, async { exchange.exactly(LARGE).await });
        assert!(received.unwrap().iter().all(|byte| *byte == 7));
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await.unwrap();
        client.head().await.unwrap();
        let download = async {
            for _ in 0..LARGE / MEBIBYTE {
                exchange.send(block).await.unwrap();
            }
        };
        let (_, received) = tokio::join!(download, async { client.exactly(LARGE).await });
        assert!(received.unwrap().iter().all(|byte| *byte == 7));

        let client = Connection::open(&proxy.address).await;
        let (response, mut stream) = client.request("POST", RANGE, &GRPC, false).await;
        let mut call = members.call().await;
        let upload = async {
            let mut sent = 0;
            while sent < LARGE {
                stream.reserve_capacity(MEBIBYTE);
                let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let room = room.unwrap().unwrap().min(LARGE - sent).min(MEBIBYTE);
                stream.send_data(Bytes::from_static(&block[..room]), false).unwrap();
                sent += room;
            }
            stream.send_data(Bytes::new(), true).unwrap();
        };
        let (_, received) = tokio::join!(upload, call.read_all());
        assert_eq!(received.unwrap().0.len(), LARGE);
        let mut reply = call.begin();
        let download = async {
            for _ in 0..LARGE / MEBIBYTE {
                reply.bytes(Bytes::from_static(block)).await.unwrap();
            }
            reply.finish(0, "");
        };
        let (_, answer) = tokio::join!(download, crate::support::http2::whole(response));
        assert_eq!(answer.unwrap().body.len(), LARGE);

        let grown = meter::resident_bytes(proxy.process.pid()).saturating_sub(before);
        assert!(grown < 24 * MEBIBYTE as u64, "{} KiB more", grown / 1024);
    });
}

#[test]
fn a_unix_socket_serves_like_a_port() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let scratch = crate::support::scratch::Scratch::new("unix");
        let path = scratch.join("client.sock");
        let listen = format!("unix://{}", path.display());
        let plan = members.plan().bare().arguments(&[
            "--proxy",
            "on",
            "--data-dir",
            "data",
            "--initial-cluster",
            &members.initial_cluster(),
            "--listen-client-urls",
            &listen,
        ]);
        let _proxy = crate::support::members::start(plan).await;
        let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
        client
            .write_all(b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let exchange = members.exchange().await;
        assert_eq!(exchange.header("x-forwarded-for"), None);
        exchange.answer(200, "fine").await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 Scripted\r\n") && answer.ends_with("fine"),
            "{answer}"
        );

        let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://localhost{RANGE}"))
            .header("content-type", "application/grpc");
        let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
        members.call().await.answer(b"fine");
        let answer = crate::support::http2::whole(response).await.unwrap();
        assert_eq!(answer.body, framed(b"fine"));
    });
}

/// Encodes a chunk with its size line and its end.
fn chunk_of(size: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..size).map(|n| b'a' + (n % 23) as u8).collect();
    [format!("{size:x}\r\n").as_bytes(), &data, b"\r\n"].concat()
}

#[test]
fn a_members_chunk_arrives_as_one_chunk_however_its_bytes_come() {
    let _machine = shared();
    run(async {
        const SIZES: [usize; 12] = [
            10_000,
            1,
            10_000,
            1,
            60_000,
            65_536,
            65_537,
            200_000,
            1,
            1_500_000,
            2_000_250,
            2 << 20,
        ];
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("POST", "/v3/watch", &[], "{}").await.unwrap();
        let mut exchange = members.exchange().await;
        let member = async {
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            let all: Vec<u8> = SIZES.into_iter().flat_map(chunk_of).collect();
            // All in quick succession, in writes that end anywhere in a chunk.
            for piece in all.chunks(7_777) {
                exchange.send(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            exchange.send("0\r\n\r\n").await.unwrap();
        };
        let client = async {
            client.head().await.unwrap();
            let mut sizes = Vec::new();
            while let Some(chunk) = client.chunk().await.unwrap() {
                sizes.push(chunk.len());
            }
            assert_eq!(sizes, SIZES);
        };
        tokio::join!(member, client);
    });
}

#[test]
fn a_chunk_that_is_too_large_to_be_held_streams() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("POST", "/v3/watch", &[], "{}").await.unwrap();
        let mut exchange = members.exchange().await;
        let chunk = chunk_of(4 << 20);
        let (first, rest) = chunk.split_at(50_000);
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        exchange.send(first).await.unwrap();
        client.head().await.unwrap();
        // The member sends the rest only now.
        let mut came = client.chunk().await.unwrap().expect("a part of the chunk").len();
        let member = async {
            exchange.send(rest).await.unwrap();
            exchange.send(chunk_of(100_000)).await.unwrap();
        };
        let client = async {
            while came < 4 << 20 {
                came += client.chunk().await.unwrap().expect("no end").len();
            }
            assert_eq!(came, 4 << 20);
            assert_eq!(client.chunk().await.unwrap().expect("no end").len(), 100_000);
        };
        tokio::join!(member, client);
    });
}
