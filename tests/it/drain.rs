//! Shutdown: requests in flight finish, and those that would never end are ended.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::grpc::Channel;
use crate::support::http2::{Connection, whole};
use crate::support::members::Members;
use crate::support::rpc::{PUT, RANGE, WATCH};
use crate::support::{PATIENCE, eventually, http1, run, shared};

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

#[test]
fn requests_in_flight_finish_and_connections_end_in_order() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
        let mut put = members.exchange().await;
        let http2 = Connection::open(&proxy.address).await;
        let (response, _stream) = http2.request("POST", PUT, &GRPC, true).await;
        let call = members.call().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let mut reply = members.call().await.begin();
        watch.head().await.unwrap();
        let mut idle = http1::Connection::open(&proxy.address).await.unwrap();
        idle.send_request("GET", "/proxy/health", &[], "").await.unwrap();
        let head = idle.head().await.unwrap();
        idle.body(&head).await.unwrap();

        proxy.process.signal(Signal::SIGTERM);
        assert!(proxy.notify.wait_for("STOPPING=1", PATIENCE).is_some());
        assert!(idle.is_closed().await, "an idle connection is closed");
        eventually("the HTTP/2 client is told", PATIENCE, async || !http2.takes_streams().await)
            .await;
        eventually("the listener is closed", PATIENCE, async || {
            http1::Connection::open(&proxy.address).await.is_err()
        })
        .await;
        reply.message(b"event");
        assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "event");
        put.body().await.unwrap();
        put.answer(200, "fine").await;
        let head = client.head().await.unwrap();
        assert_eq!(head.header("connection"), Some("close"));
        assert_eq!(client.body(&head).await.unwrap(), b"fine");
        call.answer(b"fine");
        let answer = whole(response).await.unwrap();
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
        // Only the watch is left, so it is ended.
        let failure = watch.next_bytes().await.unwrap_err();
        assert_eq!(failure.code(), Some(14), "{failure}");
        let status = proxy.process.wait(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0));
        eventually("the connection ends well", PATIENCE, async || http2.ended() == Some(Ok(())))
            .await;
    });
}

#[test]
fn a_request_that_comes_on_a_kept_connection_while_it_stops_is_answered_as_the_last_one() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("GET", "/proxy/health", &[], "").await.unwrap();
        let head = client.head().await.unwrap();
        client.body(&head).await.unwrap();
        proxy.process.signal(Signal::SIGTERM);
        assert!(proxy.notify.wait_for("STOPPING=1", PATIENCE).is_some());
        client.send_request("GET", "/v2/keys/a", &[], "").await.unwrap();
        // A shutdown waits this long only for a request in flight.
        let exchange = members.exchange().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        exchange.answer(200, "fine").await;
        let head = client.head().await.unwrap();
        assert_eq!(head.header("connection"), Some("close"));
        assert_eq!(client.body(&head).await.unwrap(), b"fine");
        assert!(proxy.process.wait(PATIENCE).is_some());
    });
}

#[test]
fn what_does_not_finish_in_time_is_told_so() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy =
            members.start_proved(members.plan().arguments(&["--drain-timeout", "300ms"])).await;
        let mut plain = http1::Connection::open(&proxy.address).await.unwrap();
        plain.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
        let _put = members.exchange().await;
        let mut begun = http1::Connection::open(&proxy.address).await.unwrap();
        begun.send_request("GET", "/v2/keys/a?wait=true", &[], "").await.unwrap();
        let mut get = members.exchange().await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        get.send(format!("{head}5\r\nevent\r\n")).await.unwrap();
        begun.head().await.unwrap();
        assert_eq!(begun.chunk().await.unwrap().unwrap(), b"event");
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut unary = channel.call(RANGE).await.unwrap();
        unary.finish().unwrap();
        let _call = members.call().await;
        let since = Instant::now();
        proxy.process.signal(Signal::SIGTERM);
        assert_eq!(plain.head().await.unwrap().status, 503);
        let failure = unary.next_bytes().await.unwrap_err();
        assert_eq!(failure.code(), Some(14), "{failure}");
        assert!(since.elapsed() >= Duration::from_millis(300));
        assert!(begun.chunk().await.is_err(), "a clean end");
        assert_eq!(proxy.process.wait(PATIENCE).expect("it ends").code(), Some(0));
        assert!(members.is_quiet());
    });
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy =
            members.start_proved(members.plan().arguments(&["--drain-timeout", "10m"])).await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
        let _put = members.exchange().await;
        proxy.process.signal(Signal::SIGTERM);
        assert!(proxy.notify.wait_for("STOPPING=1", PATIENCE).is_some());
        assert_eq!(proxy.process.ended(), None);
        proxy.process.signal(Signal::SIGTERM);
        assert!(proxy.process.wait(PATIENCE).is_some());
        assert!(client.head().await.is_err());
    });
}

#[test]
fn without_anything_in_flight_it_ends_soon_whoever_is_connected() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy =
            members.start_proved(members.plan().arguments(&["--drain-timeout", "10m"])).await;
        let _silent = http1::Connection::open(&proxy.address).await.unwrap();
        let mut half = http1::Connection::open(&proxy.address).await.unwrap();
        half.send("GET /ver").await.unwrap();
        let http2 = Connection::open(&proxy.address).await;
        let mut v2 = http1::Connection::open(&proxy.address).await.unwrap();
        v2.send_request("GET", "/v2/keys/a?wait=true", &[], "").await.unwrap();
        let _wait = members.exchange().await;
        let mut socket = http1::Connection::open(&proxy.address).await.unwrap();
        let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
        socket.send_request("GET", "/v3/watch", &upgrade, "").await.unwrap();
        let mut switched = members.exchange().await;
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        switched.send(switch).await.unwrap();
        assert_eq!(socket.head().await.unwrap().status, 101);
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let _reply = members.call().await.begin();
        watch.head().await.unwrap();
        channel.stall(true);
        proxy.process.signal(Signal::SIGTERM);
        assert!(proxy.process.wait(Duration::from_secs(10)).is_some(), "{}", proxy.story());
        assert!(socket.is_closed().await);
        switched.until_closed().await;
        drop(http2);
    });
}
