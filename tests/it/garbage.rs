//! Random bytes, made of pieces that parsers look for: the daemon neither panics nor stops serving.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::grpc::Channel;
use crate::support::members::{Arrival, Members};
use crate::support::rpc::RANGE;
use crate::support::{http1, run, shared};

const CONNECTIONS: usize = 2000;

const WORDS: [&str; 40] = [
    "GET ",
    "PUT ",
    "POST ",
    "HEAD ",
    "OPTIONS ",
    "CONNECT ",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "/",
    "/v2/keys/a",
    "/v3/kv/range",
    "/v3/watch",
    "/metrics",
    "/proxy/status",
    "*",
    "http://a/b",
    "?wait=true",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\0",
    "Host: a\r\n",
    "Host: a\r\n\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: Upgrade, close\r\n",
    "Upgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "TE: trailers\r\n",
    "Trailer: x\r\n",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "FFFFFFFFFFFFFFFF\r\n",
    "abc",
    ": ",
    "\u{fffd}",
    "Connection: content-length, host\r\n",
    "X-Forwarded-For: \u{e9}\r\n",
];

/// Returns something like a request, which may even be valid.
fn http1_garbage() -> Vec<u8> {
    let mut bytes = Vec::new();
    if fastrand::bool() {
        let methods = &WORDS[..6];
        let paths = &WORDS[7..15];
        bytes.extend(fastrand::choice(methods).unwrap().bytes());
        bytes.extend(fastrand::choice(paths).unwrap().bytes());
        bytes.extend(b" HTTP/1.1\r\nHost: a\r\n");
    }
    for _ in 0..fastrand::usize(1..20) {
        bytes.extend(fastrand::choice(WORDS).unwrap().bytes());
    }
    if fastrand::bool() {
        bytes.extend(b"\r\n\r\n");
    }
    bytes
}

/// Returns frames whose kinds, flags and payloads may or may not fit together.
fn http2_garbage() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for _ in 0..fastrand::usize(1..20) {
        let payload: Vec<u8> = match fastrand::u8(..4) {
            // A HEADERS frame of a gRPC call.
            0 => {
                let path = fastrand::choice([
                    "/etcdserverpb.KV/Range",
                    "/etcdserverpb.Watch/Watch",
                    "/v3/watch",
                ]);
                let path = path.unwrap();
                let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
                block.extend(path.bytes());
                block.extend([0x01, 1, b'a', 0x0f, 0x10, 16]);
                block.extend(b"application/grpc");
                block
            }
            1 => std::iter::repeat_with(|| fastrand::u8(..)).take(fastrand::usize(..40)).collect(),
            2 => vec![0; fastrand::usize(..10)],
            _ => vec![0, 0, 0, 1],
        };
        let length = (payload.len() as u32).to_be_bytes();
        bytes.extend(&length[1..]);
        bytes.push(fastrand::u8(..11));
        bytes.push(fastrand::choice([0, 1, 4, 5, 0x2d, 0xff]).unwrap());
        bytes.extend(fastrand::u32(..12).to_be_bytes());
        bytes.extend(payload);
    }
    bytes
}

#[test]
fn garbage_of_any_kind_is_survived() {
    let _machine = shared();
    run(async {
        let seed = fastrand::u64(..);
        fastrand::seed(seed);
        let serving = Members::start(2).await.serve(async |arrival| match arrival {
            Arrival::Http1(mut exchange) => {
                let method = exchange.first_line.split(' ').next().unwrap_or_default();
                assert!(["GET", "PUT", "POST", "HEAD", "OPTIONS"].contains(&method), "{method}");
                let _ = exchange.header("content-length");
                let _ = tokio::time::timeout(Duration::from_secs(1), exchange.body()).await;
                exchange.answer(200, "fine").await;
            }
            Arrival::Http2(call) => call.answer(b"fine"),
            Arrival::Raw(..) => {}
        });
        let proxy = serving.members.proxy().await;
        let mut attempts = Vec::new();
        for round in 0..CONNECTIONS {
            let garbage = if round % 2 == 0 { http1_garbage() } else { http2_garbage() };
            let address = proxy.address.clone();
            attempts.push(tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                // The proxy may close the connection at any point.
                let _ = stream.write_all(&garbage).await;
                if garbage.len() % 2 == 0 {
                    let _ = stream.shutdown().await;
                }
                let mut said = Vec::new();
                let reading = stream.read_to_end(&mut said);
                let _ = tokio::time::timeout(Duration::from_millis(100), reading).await;
            }));
            if round % 20 == 0 {
                for attempt in attempts.drain(..) {
                    attempt.await.unwrap();
                }
            }
        }
        assert_eq!(http1::get(&proxy.address, "/version").await.text(), "fine", "seed {seed}");
        let channel = Channel::open(&proxy.address).await.unwrap();
        assert_eq!(channel.unary_bytes(RANGE, b"").await.unwrap(), "fine", "seed {seed}");
        let panics: Vec<_> =
            proxy.process.lines().into_iter().filter(|line| line.contains("panic")).collect();
        assert!(panics.is_empty(), "seed {seed}: {panics:#?}");
        let endpoints = http1::get(&proxy.address, "/v2/config/local/proxy").await.json();
        let left = endpoints["endpoints"].as_array().map(Vec::len);
        assert_eq!(left, Some(2), "seed {seed}: a member was blamed: {}", proxy.process.tail());
    });
}
