//! Many concurrent requests of one client that each need an HTTP/1.1 connection to a member: they
//! wait for each other, and no other client waits for them.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::floods::frame;
use crate::support::members::{Arrival, Members, Serving};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, exclusive, http1, http2, meter, run};

/// Concurrent streams of one client; the proxy allows 10,000.
const STREAMS: u32 = 9_000;
/// Number of requests that a bystander makes.
const ASKED: u32 = 300;

/// Encodes a header block in HPACK without the dynamic table: `GET` or `POST`, a path, and fields.
fn head(post: bool, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |block: &mut Vec<u8>, text: &str| {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend(text.as_bytes());
    };
    let mut block = vec![if post { 0x83 } else { 0x82 }, 0x86, 0x04];
    text(&mut block, path);
    block.push(0x01);
    text(&mut block, "etcd.test");
    for (name, value) in fields {
        block.push(0x00);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A way for one client to ask for too much: its name, and the frames for a stream's ID.
type Way = (&'static str, fn(u32) -> Vec<u8>);

const WAYS: [Way; 7] = [
    ("unread answers", |id| frame(1, END_HEADERS | END_STREAM, id, &head(false, "/version", &[]))),
    ("a wrong content-length", |id| {
        let head = head(true, "/v3/kv/put", &[("content-length", "5")]);
        [frame(1, END_HEADERS, id, &head), frame(0, END_STREAM, id, b"{}")].concat()
    }),
    ("a body without end", |id| {
        let head = head(true, "/v3/kv/put", &[]);
        [frame(1, END_HEADERS, id, &head), frame(0, 0, id, b"{}")].concat()
    }),
    ("trailers", |id| {
        let head = head(true, "/v3/kv/put", &[]);
        let trailers = [0x00, 1, b'x', 1, b'y'];
        let end = frame(1, END_HEADERS | END_STREAM, id, &trailers);
        [frame(1, END_HEADERS, id, &head), frame(0, 0, id, b"{}"), end].concat()
    }),
    ("windows that overflow", |id| {
        let head = head(false, "/version", &[]);
        let more = frame(8, 0, id, &i32::MAX.to_be_bytes());
        [frame(1, END_HEADERS | END_STREAM, id, &head), more.clone(), more].concat()
    }),
    ("resets", |id| {
        let head = head(false, "/version", &[]);
        let reset = frame(3, 0, id, &8_u32.to_be_bytes());
        [frame(1, END_HEADERS | END_STREAM, id, &head), reset].concat()
    }),
    ("waits", |id| {
        let head = head(false, "/v2/keys/a?wait=true", &[]);
        frame(1, END_HEADERS | END_STREAM, id, &head)
    }),
];

/// Members whose long polls never end.
async fn patient() -> Serving {
    Members::start(1).await.serve(async |arrival| match arrival {
        Arrival::Http1(mut exchange) if exchange.target().contains("wait") => {
            exchange.until_closed().await;
        }
        Arrival::Http1(mut exchange) => {
            if exchange.body().await.is_ok() {
                exchange.answer(200, "fine").await;
            }
        }
        Arrival::Http2(call) => call.answer(b"fine"),
        Arrival::Raw(..) => {}
    })
}

/// Sends the whole flood on one connection, and then reads without ever sending WINDOW_UPDATE.
async fn flood(address: String, way: fn(u32) -> Vec<u8>) {
    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let read = async {
        let mut waste = vec![0; 65_536];
        while matches!(reader.read(&mut waste).await, Ok(1..)) {}
    };
    let write = async {
        // SETTINGS_INITIAL_WINDOW_SIZE of 0: no answer's body may be sent.
        let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        begin.extend(settings);
        writer.write_all(&begin).await?;
        for first in (0..STREAMS).step_by(100) {
            let bytes: Vec<u8> = (first..first + 100).flat_map(|n| way(2 * n + 1)).collect();
            writer.write_all(&bytes).await?;
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    tokio::select! { () = read => {}, _ = write => {} }
}

/// Returns how long a bystander needs for its requests, made one after the other.
async fn bystander(proxy: &Proxy) -> Duration {
    let begin = Instant::now();
    let mut client = http1::Connection::open(&proxy.address).await.unwrap();
    for _ in 0..ASKED {
        assert_eq!(client.exchange("GET", "/version", &[], "").await.unwrap().text(), "fine");
    }
    begin.elapsed()
}

/// Runs a flood. Returns the largest number of connections or descriptors that it took, and how
/// long a bystander needed meanwhile.
async fn suffer(proxy: &Proxy, serving: &Serving, way: fn(u32) -> Vec<u8>) -> (usize, Duration) {
    let flood = tokio::spawn(flood(proxy.address.clone(), way));
    let mut most = 0;
    let measure = async {
        loop {
            most = most.max(serving.members.open_connections());
            most = most.max(meter::descriptors(proxy.process.pid()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let served = async {
        bystander(proxy).await;
        bystander(proxy).await
    };
    let took = tokio::select! { took = served => took, () = measure => unreachable!() };
    flood.abort();
    (most, took)
}

#[test]
fn one_clients_flood_takes_a_bounded_part_of_the_members_and_of_the_others_time() {
    let _machine = exclusive();
    run(async {
        let serving = patient().await;
        for (name, way) in WAYS {
            let proxy = serving.members.proxy().await;
            bystander(&proxy).await;
            let (alone, quiet) = (bystander(&proxy).await, meter::descriptors(proxy.process.pid()));
            let (most, took) = suffer(&proxy, &serving, way).await;
            let allowed = if name == "waits" { 1_000 } else { 64 };
            assert!(most < quiet + allowed + 20, "{name}: {most}, and {quiet} before");
            // One second more, since the machine may be busy.
            assert!(took < 2 * alone + Duration::from_secs(1), "{name}: {took:?}, {alone:?} alone");
        }
    });
}

#[test]
fn all_requests_of_one_client_are_answered_in_turn_on_few_connections() {
    let _machine = exclusive();
    run(async {
        let serving = patient().await;
        let proxy = serving.members.proxy().await;
        let client = http2::Connection::open(&proxy.address).await;
        let mut asked = Vec::new();
        for _ in 0..2_000 {
            asked.push(client.request("GET", "/version", &[], true).await.0);
        }
        // The client gives up a third of them.
        let mut number = 0;
        asked.retain(|_| {
            number += 1;
            number % 3 != 0
        });
        for response in asked {
            assert_eq!(http2::whole(response).await.unwrap().body, b"fine");
        }
        let most = serving.members.connections(0);
        assert!(most < 500, "{most} connections were made for 2,000 requests");
        assert_eq!(client.ended(), None);
    });
}

#[test]
fn long_streams_beyond_the_bound_are_refused_and_come_back_when_others_end() {
    let _machine = exclusive();
    run(async {
        let serving = patient().await;
        let proxy = serving.members.proxy().await;
        let client = http2::Connection::open(&proxy.address).await;
        let wait = || client.request("GET", "/v2/keys/a?wait=true", &[], true);
        let mut open = Vec::new();
        for _ in 0..1_000 {
            open.push(wait().await.0);
        }
        let refused = http2::whole(wait().await.0).await.unwrap();
        assert_eq!(refused.status, 503);
        assert_eq!(refused.headers["etcd-proxy-reason"], "too-many-streams");
        assert_eq!(client.exchange("GET", "/version", &[], b"").await.unwrap().body, b"fine");
        open.truncate(500);
        eventually("a new stream is accepted", PATIENCE, async || {
            let answer = http2::whole(wait().await.0);
            tokio::time::timeout(Duration::from_millis(50), answer).await.is_err()
        })
        .await;
    });
}

#[test]
fn a_crowd_that_reads_no_answer_leaves_descriptors_for_the_others() {
    let _machine = exclusive();
    run(async {
        let serving = patient().await;
        let proxy = serving.members.proxy().await;
        bystander(&proxy).await;
        let pid = proxy.process.pid().to_string();
        let status = std::process::Command::new("prlimit")
            .args(["--pid", &pid, "--nofile=400:400"])
            .status();
        assert!(status.unwrap().success(), "prlimit");
        let (_, unread) = WAYS[0];
        let crowd: Vec<_> =
            (0..6).map(|_| tokio::spawn(flood(proxy.address.clone(), unread))).collect();
        for _ in 0..3 {
            bystander(&proxy).await;
            let client = http2::Connection::open(&proxy.address).await;
            let asked = [(); 8].map(|()| client.exchange("GET", "/version", &[], b""));
            for answer in asked {
                assert_eq!(answer.await.unwrap().body, b"fine");
            }
            let open = meter::descriptors(proxy.process.pid());
            assert!(open < 250, "{open} descriptors");
        }
        crowd.iter().for_each(tokio::task::JoinHandle::abort);
    });
}
