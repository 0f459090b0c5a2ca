//! Clients that ask for too much are refused or slowed down, and the others are served.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::grpc::Channel;
use crate::support::members::{Arrival, Members, Serving};
use crate::support::proxy::Proxy;
use crate::support::rpc::{RANGE, WATCH};
use crate::support::{PATIENCE, eventually, exclusive, http1, meter, run, shared};

/// Members that answer every request.
async fn willing() -> Serving {
    Members::start(1).await.serve(async |arrival| match arrival {
        Arrival::Http1(exchange) => exchange.answer(200, "fine").await,
        Arrival::Http2(call) if call.path() == WATCH => call.hold().await,
        Arrival::Http2(call) => call.answer(b"fine"),
        Arrival::Raw(..) => {}
    })
}

/// Makes a few requests with both protocols; each must be answered quickly.
async fn others_are_served(proxy: &Proxy) {
    let channel = Channel::open(&proxy.address).await.unwrap();
    let mut client = http1::Connection::open(&proxy.address).await.unwrap();
    let served = async {
        for _ in 0..20 {
            assert_eq!(channel.unary_bytes(RANGE, b"").await.unwrap(), "fine");
            assert_eq!(client.exchange("GET", "/version", &[], "").await.unwrap().text(), "fine");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), served).await.expect("others wait too long");
}

#[test]
fn a_head_that_is_too_large_is_refused_and_ordinary_ones_pass() {
    let _machine = shared();
    run(async {
        let serving = willing().await;
        let proxy = serving.members.proxy().await;
        let headers = |count: usize| {
            let many: String = (0..count).map(|n| format!("X-{n}: y\r\n")).collect();
            format!("GET /version HTTP/1.1\r\nHost: a\r\n{many}\r\n")
        };
        let long = |length: usize| {
            format!("GET /version HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(length))
        };
        let target =
            |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(length));
        for (request, status) in [
            (headers(99), 200),
            (headers(300), 431),
            (long(64 << 10), 200),
            (long(1 << 20), 431),
            (target(8 << 10), 200),
            (target(100 << 10), 414),
        ] {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            // The proxy may refuse the request before all of it is sent.
            let _ = client.send(&request).await;
            let Ok(head) = client.head().await else {
                assert_ne!(status, 200, "no answer to {} bytes", request.len());
                continue;
            };
            assert_eq!(head.status, status, "{} bytes", request.len());
            client.body(&head).await.unwrap();
            assert_eq!(status != 200, {
                let closed = tokio::time::timeout(Duration::from_millis(50), client.is_closed());
                closed.await == Ok(true)
            });
        }
        others_are_served(&proxy).await;
    });
}

/// Encodes one HTTP/2 frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Encodes the header block of a gRPC call in HPACK without the dynamic table.
fn call_head(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'a', 0x0f, 0x10, 16]);
    block.extend(b"application/grpc");
    block
}

/// Opens an HTTP/2 connection and sends its frames by hand.
async fn bare_http2(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends `next(0)`, `next(1)` and so on without reading, until `limit` bytes are sent or the other
/// side takes no more.
async fn pour(
    mut stream: TcpStream,
    limit: usize,
    mut next: impl FnMut(u32) -> Vec<u8>,
) -> TcpStream {
    let (mut sent, mut round) = (0, 0);
    while sent < limit {
        let bytes: Vec<u8> = (0..100).flat_map(|n| next(round + n)).collect();
        round += 100;
        let written = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            break;
        }
        sent += bytes.len();
    }
    stream
}

#[test]
fn a_flood_of_frames_on_one_connection_harms_no_other() {
    let _machine = exclusive();
    run(async {
        let serving = willing().await;
        let proxy = serving.members.proxy().await;
        others_are_served(&proxy).await;
        let before = meter::resident_bytes(proxy.process.pid());
        let mut floods = Vec::new();
        let pings: fn(u32) -> Vec<u8> = |_| frame(6, 0, 0, &[0; 8]);
        let settings: fn(u32) -> Vec<u8> = |_| frame(4, 0, 0, &[0, 4, 0, 1, 0, 0]);
        let windows: fn(u32) -> Vec<u8> = |_| frame(8, 0, 0, &[0, 0, 0, 1]);
        let unknown: fn(u32) -> Vec<u8> = |_| frame(0x77, 0, 0, &[0; 64]);
        let resets: fn(u32) -> Vec<u8> = |n| {
            let id = 2 * n + 1;
            [frame(1, 4, id, &call_head(WATCH)), frame(3, 0, id, &[0, 0, 0, 8])].concat()
        };
        let streams: fn(u32) -> Vec<u8> = |n| frame(1, 4, 2 * n + 1, &call_head(WATCH));
        for (next, limit) in [
            (pings, 1 << 20),
            (settings, 1 << 20),
            (windows, 1 << 20),
            (unknown, 1 << 20),
            (resets, 200 << 10),
            (streams, 200 << 10),
        ] {
            let stream = bare_http2(&proxy.address).await;
            floods.push(tokio::spawn(pour(stream, limit, next)));
            others_are_served(&proxy).await;
        }
        for _ in 0..3 {
            others_are_served(&proxy).await;
        }
        for flood in floods {
            drop(flood.await.unwrap());
        }
        others_are_served(&proxy).await;
        let grown = meter::resident_bytes(proxy.process.pid()).saturating_sub(before);
        assert!(grown < 200 << 20, "{} KiB more", grown / 1024);
        assert_eq!(proxy.process.ended(), None);
    });
}

#[test]
fn headers_without_an_end_end_their_connection() {
    let _machine = shared();
    run(async {
        let serving = willing().await;
        let proxy = serving.members.proxy().await;
        let mut stream = bare_http2(&proxy.address).await;
        stream.write_all(&frame(1, 0, 1, &call_head(RANGE))).await.unwrap();
        let field = [&[0x00, 1, b'x', 100][..], &[b'y'; 100]].concat();
        let more = frame(9, 0, 1, &field.repeat(100));
        let mut sent = 0;
        while stream.write_all(&more).await.is_ok() {
            sent += more.len();
            assert!(sent < 16 << 20, "{sent} bytes of headers were taken");
        }
        others_are_served(&proxy).await;
    });
}

#[test]
fn without_descriptors_the_proxy_waits_and_serves_again() {
    let _machine = exclusive();
    run(async {
        let serving = willing().await;
        let proxy = serving.members.proxy().await;
        others_are_served(&proxy).await;
        let pid = proxy.process.pid();
        let limit = meter::descriptors(pid) + 20;
        let status = std::process::Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &format!("--nofile={limit}:{limit}")])
            .status();
        assert!(status.unwrap().success(), "prlimit");
        let mut crowd = Vec::new();
        for _ in 0..100 {
            crowd.push(http1::Connection::open(&proxy.address).await.unwrap());
        }
        assert!(proxy.process.wait_for_line("cannot accept connections", PATIENCE).is_some());
        let before = meter::processor_ms(pid);
        let since = std::time::Instant::now();
        // Without free descriptors it must not spin.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let spent = meter::processor_ms(pid) - before;
        assert!(spent < 200, "{spent} ms of processor time in {:?}", since.elapsed());
        drop(crowd);
        assert!(proxy.process.wait_for_line("accepting connections again", PATIENCE).is_some());
        eventually("requests are served again", PATIENCE, async || {
            http1::get(&proxy.address, "/version").await.status == 200
        })
        .await;
    });
}

#[test]
fn a_crowd_of_silent_clients_leaves_descriptors_for_those_who_ask() {
    let _machine = exclusive();
    run(async {
        let serving = willing().await;
        let proxy = serving.members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let pid = proxy.process.pid().to_string();
        let status = std::process::Command::new("prlimit")
            .args(["--pid", &pid, "--nofile=200:200"])
            .status();
        assert!(status.unwrap().success(), "prlimit");
        let mut crowd = Vec::new();
        for _ in 0..300 {
            crowd.push(TcpStream::connect(&proxy.address).await.unwrap());
        }
        assert!(proxy.process.wait_for_line("cannot accept connections", PATIENCE).is_some());
        let (status, said) = proxy.exit_status(&["status"]);
        assert_eq!(status, 4, "{said}");
        assert!(
            said.starts_with("PROBLEM: new clients wait to be accepted: 68 are connected, "),
            "{said}"
        );
        let metrics = client.exchange("GET", "/metrics", &[], "").await.unwrap().text();
        assert!(metrics.contains("\netcd_proxy_connections_limit 68\n"), "{metrics}");
        for _ in 0..20 {
            let request = "GET /version HTTP/1.1\r\nHost: a\r\n\r\n";
            client.send(request).await.unwrap();
            let head = client.head().await.unwrap();
            assert_eq!(head.status, 200);
            assert_eq!(client.body(&head).await.unwrap(), b"fine");
        }
        // A client in the listen queue is served when the others leave.
        let late = tokio::spawn({
            let address = proxy.address.clone();
            async move { http1::get(&address, "/version").await.status }
        });
        drop(crowd);
        assert_eq!(late.await.unwrap(), 200);
        eventually("all is well", PATIENCE, async || proxy.exit_status(&["status"]).0 == 0).await;
    });
}

#[test]
fn a_client_that_makes_a_thousand_calls_and_reads_nothing_holds_a_bounded_part() {
    let _machine = exclusive();
    run(async {
        static ARRIVED: AtomicUsize = AtomicUsize::new(0);
        let serving = Members::start(1).await.serve(async |arrival| {
            let Arrival::Http2(call) = arrival else { return };
            if call.path() != RANGE {
                return call.answer(b"fine");
            }
            ARRIVED.fetch_add(1, Ordering::Relaxed);
            let mut reply = call.begin();
            let _ = reply.bytes(bytes::Bytes::from_static(&[7; 1 << 20])).await;
            reply.finish(0, "");
        });
        let proxy = serving.members.proxy().await;
        others_call(&proxy).await;
        let before = meter::resident_bytes(proxy.process.pid());
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut calls = Vec::new();
        for _ in 0..1_000 {
            let mut call = channel.call(RANGE).await.unwrap();
            call.finish().unwrap();
            calls.push(call);
        }
        eventually("all calls are with the member", PATIENCE, async || {
            ARRIVED.load(Ordering::Relaxed) == 1_000
        })
        .await;
        for _ in 0..50 {
            others_call(&proxy).await;
        }
        let grown = meter::resident_bytes(proxy.process.pid()).saturating_sub(before);
        // 32 windows of 1 MiB, two connections of 64 MiB, and the cost of a thousand streams.
        assert!(grown < 256 << 20, "{} KiB more", grown / 1024);
    });
}

async fn others_call(proxy: &Proxy) {
    let other = Channel::open(&proxy.address).await.unwrap();
    assert_eq!(other.unary_bytes("/etcdserverpb.KV/Put", b"").await.unwrap(), "fine");
}

#[test]
fn slow_readers_of_large_answers_hold_little() {
    let _machine = exclusive();
    run(async {
        let serving = Members::start(1).await.serve(async |arrival| {
            let block = bytes::Bytes::from_static(&[7; 65_536]);
            match arrival {
                Arrival::Http1(mut exchange) => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 16 << 20);
                    let _ = exchange.send(head).await;
                    for _ in 0..256 {
                        if exchange.send(&block).await.is_err() {
                            return;
                        }
                    }
                    exchange.go_on();
                }
                Arrival::Http2(call) if call.path() == RANGE => {
                    let mut reply = call.begin();
                    for _ in 0..256 {
                        if reply.bytes(block.clone()).await.is_err() {
                            return;
                        }
                    }
                    reply.finish(0, "");
                }
                Arrival::Http2(call) => call.answer(b"fine"),
                Arrival::Raw(..) => {}
            }
        });
        let proxy = serving.members.proxy().await;
        let before = meter::resident_bytes(proxy.process.pid());
        let mut unread = Vec::new();
        for _ in 0..10 {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            client.send_request("GET", "/v2/keys/a", &[], "").await.unwrap();
            client.head().await.unwrap();
            unread.push(client);
        }
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut calls = Vec::new();
        for _ in 0..10 {
            let mut call = channel.call(RANGE).await.unwrap();
            call.finish().unwrap();
            call.head().await.unwrap();
            calls.push(call);
        }
        channel.stall(true);
        let other = Channel::open(&proxy.address).await.unwrap();
        for _ in 0..50 {
            assert_eq!(other.unary_bytes("/etcdserverpb.KV/Put", b"").await.unwrap(), "fine");
        }
        let grown = meter::resident_bytes(proxy.process.pid()).saturating_sub(before);
        // About one window per stream and the buffers of each connection: far less than the 320 MiB
        // that were asked for.
        assert!(grown < 48 << 20, "{} KiB more", grown / 1024);
        // A client that reads again gets its whole answer.
        let mut first = unread.swap_remove(0);
        assert!(first.exactly(16 << 20).await.unwrap().iter().all(|byte| *byte == 7));
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let _machine = exclusive();
    run(async {
        let serving = willing().await;
        let proxy = serving.members.proxy().await;
        others_are_served(&proxy).await;
        let pid = proxy.process.pid();
        let quiet = meter::descriptors(pid);
        for round in 0..300 {
            let mut stream = TcpStream::connect(&proxy.address).await.unwrap();
            let bytes: &[u8] = match round % 4 {
                0 => b"",
                1 => b"GET /ver",
                2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                _ => b"POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
            };
            stream.write_all(bytes).await.unwrap();
            if round % 3 == 0 {
                let _ = tokio::time::timeout(Duration::from_millis(1), stream.read_u8()).await;
            }
        }
        eventually("all descriptors are closed again", PATIENCE, async || {
            meter::descriptors(pid) <= quiet + 2
        })
        .await;
    });
}
