//! Members that speak only gRPC on a port that was asked over HTTP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::grpc::Channel;
use crate::support::members::{Conduct, Members};
use crate::support::rpc::PUT;
use crate::support::{http1, run, shared};

/// The first frame that grpc-go sends to every client: SETTINGS with MAX_FRAME_SIZE.
const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0";

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    String::from_utf8(head).expect("text")
}

#[test]
fn a_write_over_http_goes_past_a_listener_for_grpc_with_nothing_lost_and_grpc_stays_there() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.proxy().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let caller = channel.clone();
        let called = tokio::spawn(async move { caller.unary_bytes(PUT, b"x").await });
        let call = members.call().await;
        let first = call.member;
        call.answer(b"fine");
        called.await.unwrap().unwrap();

        members.set_all(Conduct::Raw);
        let address = proxy.address.clone();
        let asked = tokio::spawn(async move {
            http1::request(&address, "PUT", "/v2/keys/a", "value=x").await.unwrap()
        });
        let (member, mut stream) = members.raw().await;
        assert_eq!(member, first);
        assert!(head(&mut stream).await.starts_with("GET /version "), "a client's write");
        stream.write_all(SETTINGS).await.unwrap();
        drop(stream);
        let (member, mut stream) = members.raw().await;
        assert_ne!(member, first);
        assert!(head(&mut stream).await.starts_with("GET /version "));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        assert!(head(&mut stream).await.starts_with("PUT /v2/keys/a "));
        let mut body = [0; 7];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"value=x");
        stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert_eq!(asked.await.unwrap().status, 201);

        let caller = channel.clone();
        let called = tokio::spawn(async move { caller.unary_bytes(PUT, b"x").await });
        let call = members.call().await;
        assert_eq!(call.member, first, "gRPC was moved");
        call.answer(b"fine");
        called.await.unwrap().unwrap();
        assert_eq!(http1::get(&proxy.address, "/proxy/health").await.status, 200);
    });
}

#[test]
fn when_nobody_speaks_http_the_answer_says_so_and_grpc_stays_healthy() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        members.set_all(Conduct::Raw);
        let address = proxy.address.clone();
        let asked = tokio::spawn(async move { http1::get(&address, "/version").await });
        let (_, mut stream) = members.raw().await;
        head(&mut stream).await;
        // In two pieces, as they may come over a slow network.
        stream.write_all(&SETTINGS[..4]).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&SETTINGS[4..]).await.unwrap();
        let answer = asked.await.unwrap();
        assert_eq!((answer.status, answer.header("etcd-proxy-reason")), (502, Some("no-http")));
        // The result is remembered, so no connection is made.
        let answer = http1::request(&proxy.address, "PUT", "/v2/keys/a", "x").await.unwrap();
        assert_eq!((answer.status, answer.header("etcd-proxy-reason")), (502, Some("no-http")));
        assert!(answer.text().contains("listen-client-http-urls"), "{}", answer.text());
        assert!(members.is_quiet());
        assert_eq!(http1::get(&proxy.address, "/proxy/health").await.status, 200);
    });
}
