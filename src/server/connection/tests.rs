use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::uri::Scheme;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::*;
use crate::config::{Balance, Mode};
use crate::message::rpc::Rpc;
use crate::proxy::generation::Generation;
use crate::proxy::worker::Worker;
use crate::server::drain::LINGER;
use crate::server::limits::ClientTimeouts;
use crate::server::local::RenderRequest;
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::worker_endpoint::Timeouts;

/// Timeouts short enough for a test, in proportion to the real ones.
const SHORT: ClientTimeouts = ClientTimeouts {
    handshake: Duration::from_millis(200),
    first_head: Duration::from_millis(200),
    owed: Duration::from_millis(200),
    idle: Duration::from_millis(600),
    idle_check_interval: Duration::from_millis(20),
};
/// Upper limit for anything on a busy machine.
const LONG: Duration = Duration::from_secs(20);
/// Nothing but what it owes ends a client's connection.
const ONLY_OWED: ClientTimeouts = ClientTimeouts {
    handshake: LONG,
    first_head: LONG,
    owed: Duration::from_millis(200),
    idle: LONG,
    idle_check_interval: Duration::from_millis(20),
};

fn generation() -> Generation {
    Generation {
        settings_revision: 1,
        mode: Mode::Readwrite,
        balance: Balance::Sticky,
        timeouts: Timeouts::default(),
        failure_wait: Duration::ZERO,
        health_interval: None,
        health_timeout: Duration::from_secs(1),
        cors: None,
        host_whitelist: None,
        page_hosts: Vec::new(),
        advertised: None,
        acceptor: None,
        connector: None,
        endpoints: Vec::new(),
    }
}

/// The server's side of a connection with short timeouts.
struct Served {
    worker: Rc<Worker>,
    drain: Rc<DrainSignal>,
    render_requests: mpsc::Receiver<RenderRequest>,
}

/// Runs `body` with both sides of a connection to a proxy in front of these members.
fn with_both<F: Future<Output = ()>>(
    endpoints: Vec<Arc<Endpoint>>,
    body: impl FnOnce(UnixStream, Served) -> F,
) {
    with_timeouts(SHORT, endpoints, body);
}

fn with_timeouts<F: Future<Output = ()>>(
    timeouts: ClientTimeouts,
    endpoints: Vec<Arc<Endpoint>>,
    body: impl FnOnce(UnixStream, Served) -> F,
) {
    let runtime = Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.unwrap().block_on(async {
        let newest = Arc::new(ArcSwap::from_pointee(Generation { endpoints, ..generation() }));
        let counters = Arc::new(WorkerCounters::new(Rpc::COUNT));
        let worker = Rc::new(Worker::new(0, newest, counters, HeaderValue::from_static("hop")));
        let (near, far) = UnixStream::pair().unwrap();
        let client = Rc::new(Client::new(worker.clone(), "test".into(), None));
        let drain = Rc::new(DrainSignal::with_timeouts(timeouts));
        let (pages, render_requests) = mpsc::channel(1);
        tokio::task::spawn_local(serve(far, client, drain.clone(), RenderHandle(pages)));
        let served = Served { worker, drain, render_requests };
        timeout(LONG, body(near, served)).await.expect("the connection is held for ever");
    });
}

/// Runs `body` with a client's side of a connection.
fn with_client<F: Future<Output = ()>>(body: impl FnOnce(UnixStream) -> F) {
    with_both(Vec::new(), |client, _| body(client));
}

/// Reads until the server closes. Returns what was read, and the time until then.
async fn rest(client: &mut UnixStream) -> (String, Duration) {
    let since = Instant::now();
    let mut rest = Vec::new();
    // A reset counts as the end too.
    let _ = client.read_to_end(&mut rest).await;
    (String::from_utf8_lossy(&rest).into_owned(), since.elapsed())
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    with_client(async |mut client| {
        let (said, after) = rest(&mut client).await;
        assert_eq!(said, "");
        assert!(after >= SHORT.first_head, "{after:?}");
    });
}

#[test]
fn a_client_that_says_half_a_method_is_let_go() {
    with_client(async |mut client| {
        client.write_all(b"PR").await.unwrap();
        let (said, after) = rest(&mut client).await;
        assert_eq!(said, "");
        assert!(after >= SHORT.first_head, "{after:?}");
    });
}

#[test]
fn a_client_that_drips_its_head_is_let_go_however_busy_it_looks() {
    with_client(async |client| {
        let (mut read, mut write) = client.into_split();
        let drips = async {
            write.write_all(b"GET /version HTTP/1.1\r\n").await.unwrap();
            while write.write_all(b"X: y\r\n").await.is_ok() {
                sleep(Duration::from_millis(30)).await;
            }
        };
        let mut said = Vec::new();
        tokio::join!(drips, async { drop(read.read_to_end(&mut said).await) });
        assert_eq!(String::from_utf8_lossy(&said), "");
    });
}

#[test]
fn a_client_that_has_asked_may_be_idle_for_longer() {
    with_timeouts(ClientTimeouts { idle: LONG, ..SHORT }, Vec::new(), async |mut client, _| {
        // An answer of our own counts like a member's.
        for path in ["/proxy/health", "/version"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut said = String::new();
            while !said.ends_with('}') {
                said.push(client.read_u8().await.unwrap().into());
            }
            assert!(said.starts_with("HTTP/1.1 503"), "{said}");
            sleep(SHORT.first_head * 2).await;
        }
    });
}

#[test]
fn an_http2_client_without_calls_is_held_for_as_long_as_an_idle_one() {
    with_client(async |mut client| {
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let (_, after) = rest(&mut client).await;
        assert!(after >= SHORT.idle, "{after:?}");
    });
}

#[test]
fn a_client_that_left_is_noticed_behind_a_word_too_many() {
    let (member, endpoint) = silent_member();
    with_both(vec![endpoint], async |mut client, _served| {
        member.set_nonblocking(true).unwrap();
        let member = tokio::net::TcpListener::from_std(member).unwrap();
        // A watch, followed by the start of a request that hyper leaves unread while the watch is
        // open.
        let request = b"GET /v2/keys/a?wait=true HTTP/1.1\r\nHost: a\r\n\r\nG";
        client.write_all(request).await.unwrap();
        let (mut watch, _) = member.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            watch.read_buf(&mut seen).await.unwrap();
        }
        drop(client);
        assert_eq!(watch.read_buf(&mut seen).await.unwrap_or(0), 0, "the watch is still open");
    });
}

#[test]
fn an_answer_that_is_read_slowly_is_waited_for_by_a_closing_listener_and_by_a_drain() {
    with_both(Vec::new(), async |mut client, mut served| {
        let whole = vec![b'm'; 1 << 20];
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let request = served.render_requests.recv().await.unwrap();
        request.answer.send(http::Response::new(whole.clone().into())).unwrap();
        let mut first = [0; 1];
        client.read_exact(&mut first).await.unwrap();
        served.drain.start();
        let drained =
            timeout(SHORT.idle_check_interval * 10, served.worker.only_streams_left()).await;
        assert!(drained.is_err(), "the drain did not wait for the rest");
        assert!(!served.drain.is_empty() || client.peer_addr().is_ok());
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(&whole), "{} bytes came", rest.len());
        served.worker.only_streams_left().await;
    });
}

#[test]
fn a_connection_that_waits_for_one_of_our_pages_is_not_idle() {
    with_both(Vec::new(), async |mut client, mut served| {
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let request = served.render_requests.recv().await.unwrap();
        served.drain.shed(Duration::ZERO);
        let early = timeout(SHORT.idle_check_interval * 3, client.read_u8()).await;
        assert!(early.is_err(), "it was closed without an answer");
        request.answer.send(http::Response::new("page".into())).unwrap();
        let mut said = String::new();
        while !said.ends_with("page") {
            said.push(client.read_u8().await.unwrap().into());
        }
        served.drain.shed(Duration::ZERO);
        assert_eq!(rest(&mut client).await.0, "", "idle, so it was closed");
    });
}

#[test]
fn the_last_answer_on_a_closing_connection_says_that_it_is_the_last() {
    with_both(Vec::new(), async |mut client, served| {
        let request = b"GET /proxy/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut said = String::new();
        while !said.ends_with('}') {
            said.push(client.read_u8().await.unwrap().into());
        }
        assert!(!said.contains("connection: close"), "{said}");
        served.drain.start();
        client.write_all(request).await.unwrap();
        let (said, _) = rest(&mut client).await;
        assert!(said.contains("connection: close"), "{said}");
    });
}

/// Nothing but a drain ends a client's connection.
const ONLY_DRAINED: ClientTimeouts = ClientTimeouts { owed: LONG, ..ONLY_OWED };

/// Makes one request, so that the connection has been used and is idle.
async fn ask(client: &mut UnixStream) {
    client.write_all(b"GET /proxy/health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut said = String::new();
    while !said.ends_with('}') {
        said.push(client.read_u8().await.unwrap().into());
    }
}

#[test]
fn an_idle_http1_connection_lingers_when_its_listener_drains() {
    with_timeouts(ONLY_DRAINED, Vec::new(), async |mut client, served| {
        ask(&mut client).await;
        served.drain.start();
        let (said, after) = rest(&mut client).await;
        assert_eq!(said, "");
        assert!(after >= LINGER, "{after:?}");
        assert!(after < LONG / 2, "{after:?}");
    });
}

#[test]
fn half_a_head_does_not_keep_a_drained_connection_open() {
    with_timeouts(ONLY_DRAINED, Vec::new(), async |mut client, served| {
        ask(&mut client).await;
        client.write_all(b"GET /ver").await.unwrap();
        served.drain.start();
        let (_, after) = rest(&mut client).await;
        assert!(after >= LINGER, "{after:?}");
        assert!(after < LONG / 2, "{after:?}");
    });
}

#[test]
fn an_idle_http2_connection_is_told_of_a_drain_and_closed_though_its_client_is_deaf() {
    with_timeouts(ONLY_DRAINED, Vec::new(), async |mut client, served| {
        client.write_all(&http2(b"\0\0\0\x04\x01\0\0\0\0")).await.unwrap();
        let mut frame = async || {
            let mut head = [0; 9];
            client.read_exact(&mut head).await.unwrap();
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            client.read_exact(&mut vec![0; length]).await.unwrap();
            head[3]
        };
        assert_eq!(frame().await, 4, "SETTINGS come first");
        served.drain.start();
        while frame().await != 7 {}
        // The PING behind GOAWAY gets no answer.
        let (_, after) = rest(&mut client).await;
        assert!(after < LONG / 2, "{after:?}");
    });
}

/// An address that accepts connections and never answers, and its endpoint.
fn silent_member() -> (std::net::TcpListener, Arc<Endpoint>) {
    let member = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = member.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let endpoint = Endpoint::new(&url, 1, "m", 1, Scheme::HTTP, "127.0.0.1", port, 1).unwrap();
    endpoint.exempt();
    (member, Arc::new(endpoint))
}

/// An HTTP/2 preface with SETTINGS, and what follows it.
fn http2(rest: &[u8]) -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", rest].concat()
}

/// The HEADERS frame of a POST of JSON or of a gRPC call, with these flags.
fn post(path: &str, flags: u8) -> Vec<u8> {
    let path_field = [&[0x04, path.len() as u8], path.as_bytes()].concat();
    let mut block = [&[0x83, 0x86], &path_field[..]].concat();
    let json = path.starts_with("/v3/");
    block.extend(b"\x0f\x10\x10application/");
    block.extend(if json { b"json" } else { b"grpc" });
    [&[0, 0, block.len() as u8, 1, flags, 0, 0, 0, 1], &block[..]].concat()
}

#[test]
fn a_client_that_owes_bytes_is_let_go() {
    let good = "GET /proxy/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let put = "PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\n";
    let whole_head = post("/v3/kv/range", 4);
    for bytes in [
        format!("{good}GET /ver").into_bytes(),
        format!("{good}\r").into_bytes(),
        format!("{good}GET /version HTTP/1.1\r\nHost: a\r\n").into_bytes(),
        format!("{put}Content-Length: 5\r\n\r\n").into_bytes(),
        format!("{put}Content-Length: 5\r\n\r\nhe").into_bytes(),
        format!("{put}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0").into_bytes(),
        b"POST /v3/watch HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{".to_vec(),
        b"POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n".to_vec(),
        http2(b"")[..10].to_vec(),
        http2(b"")[..24].to_vec(),
        http2(b"")[..30].to_vec(),
        http2(&whole_head[..5]),
        http2(&whole_head[..20]),
        // CONTINUATION is to follow.
        http2(&post("/v3/kv/range", 1)),
        // DATA is.
        http2(&whole_head),
        http2(&post("/etcdserverpb.KV/Range", 4)),
        http2(&[&whole_head[..], b"\0\0\x05\0\x01\0\0\0\x01he"].concat()),
    ] {
        let (_member, endpoint) = silent_member();
        with_timeouts(ONLY_OWED, vec![endpoint], async |mut client, _served| {
            client.write_all(&bytes).await.unwrap();
            let told = String::from_utf8_lossy(&bytes);
            let (_, after) = timeout(LONG / 2, rest(&mut client)).await.expect(&told);
            assert!(after >= ONLY_OWED.owed / 2, "{after:?} {told:?}");
        });
    }
}

#[test]
fn a_client_that_waits_for_an_answer_is_not_let_go() {
    for bytes in [
        b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        // The start of the next request, sent while the client waits.
        b"GET /version HTTP/1.1\r\nHost: a\r\n\r\nGET".to_vec(),
        b"GET /v2/keys/a?wait=true HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
        b"POST /v3/watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
            .to_vec(),
        b"GET /v3/watch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            .to_vec(),
        // The request was answered, so the connection may be idle for an hour.
        b"GET /proxy/health HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        http2(b""),
        http2(&post("/v3/kv/range", 5)),
        http2(&post("/etcdserverpb.Watch/Watch", 4)),
        http2(&post("/etcdserverpb.Lease/LeaseKeepAlive", 4)),
        http2(&post("/v3electionpb.Election/Observe", 5)),
        // An unknown RPC may be a stream.
        http2(&post("/etcdserverpb.KV/New", 4)),
    ] {
        let (_member, endpoint) = silent_member();
        with_timeouts(ONLY_OWED, vec![endpoint], async |mut client, _served| {
            client.write_all(&bytes).await.unwrap();
            let ended = timeout(ONLY_OWED.owed * 3, rest(&mut client)).await;
            assert!(ended.is_err(), "{ended:?} {:?}", String::from_utf8_lossy(&bytes));
        });
    }
}

#[test]
fn a_client_that_sends_a_body_slowly_is_not_let_go() {
    let (_member, endpoint) = silent_member();
    // Long enough that a busy machine does not exceed it with a pause.
    let timeouts = ClientTimeouts { owed: Duration::from_secs(1), ..ONLY_OWED };
    with_timeouts(timeouts, vec![endpoint], async |mut client, _served| {
        let head = b"PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n";
        client.write_all(head).await.unwrap();
        for _ in 0..6 {
            sleep(timeouts.owed / 4).await;
            client.write_all(b"a").await.expect("it is still there");
        }
        let (_, after) = rest(&mut client).await;
        assert!(after >= timeouts.owed / 2, "{after:?}");
    });
}

#[test]
fn a_bystander_is_served_while_those_who_owe_are_let_go() {
    with_timeouts(ONLY_OWED, Vec::new(), async |mut bystander, served| {
        let ask = b"GET /proxy/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (pages, _render_requests) = mpsc::channel(1);
        let mut owing = Vec::new();
        for at in 0..60 {
            let (mut near, far) = UnixStream::pair().unwrap();
            let client = Rc::new(Client::new(served.worker.clone(), "test".into(), None));
            let drain = served.drain.clone();
            tokio::task::spawn_local(serve(far, client, drain, RenderHandle(pages.clone())));
            let half = if at % 2 == 0 { b"PRI * HT" } else { b"GET /ver" };
            if at % 2 == 1 {
                near.write_all(ask).await.unwrap();
            }
            near.write_all(half).await.unwrap();
            owing.push(near);
        }
        let answered = async |bystander: &mut UnixStream| {
            bystander.write_all(ask).await.unwrap();
            let mut said = String::new();
            while !said.ends_with('}') {
                said.push(bystander.read_u8().await.unwrap().into());
            }
        };
        answered(&mut bystander).await;
        for mut near in owing {
            rest(&mut near).await;
        }
        answered(&mut bystander).await;
    });
}

/// Every idle watcher holds one such future.
#[test]
fn the_future_of_a_connection_stays_small() {
    let newest = Arc::new(ArcSwap::from_pointee(generation()));
    let counters = Arc::new(WorkerCounters::new(Rpc::COUNT));
    let worker = Worker::new(0, newest, counters, HeaderValue::from_static("hop"));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (near, far) = UnixStream::pair().unwrap();
    let client = Rc::new(Client::new(Rc::new(worker), "test".into(), None));
    let (drain, pages) = (Rc::<DrainSignal>::default(), RenderHandle(mpsc::channel(1).0));
    let plain = size_of_val(&serve(near, client.clone(), drain.clone(), pages.clone()));
    let tls = size_of_val(&serve_tls(far, client, drain, pages));
    assert!(plain <= 1400, "{plain} bytes");
    assert!(tls <= 1800, "{tls} bytes, and the session's state is boxed");
}
