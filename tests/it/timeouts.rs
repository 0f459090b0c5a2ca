//! The timeouts of etcd's old proxy, which apply to each single read or write on a member's
//! connection.

use std::time::{Duration, Instant};

use crate::support::grpc::Channel;
use crate::support::members::{Conduct, Members};
use crate::support::rpc::{PUT, RANGE};
use crate::support::{http1, run, shared};

#[test]
fn a_member_that_sends_nothing_within_the_read_timeout_is_a_lost_one() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy =
            members.start_proved(members.plan().arguments(&["--proxy-read-timeout", "300"])).await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let since = Instant::now();
        client.send_request("GET", "/v2/keys/a", &[], "").await.unwrap();
        let waiting = members.exchange().await;
        let exchange = members.exchange().await;
        assert_ne!(exchange.member, waiting.member);
        assert!(since.elapsed() >= Duration::from_millis(290), "{:?}", since.elapsed());
        exchange.answer(200, "fine").await;
        let head = client.head().await.unwrap();
        assert_eq!(client.body(&head).await.unwrap(), b"fine");

        client.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
        let _waiting = members.exchange().await;
        assert_eq!(client.head().await.unwrap().status, 502);
        assert!(members.is_quiet());
    });
}

#[test]
fn a_kept_connection_may_be_idle_for_longer_than_the_read_timeout() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy =
            members.start_proved(members.plan().arguments(&["--proxy-read-timeout", "100"])).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        for _ in 0..3 {
            client.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
            members.exchange().await.answer(200, "").await;
            assert_eq!(client.head().await.unwrap().status, 200);
            let caller = channel.clone();
            let called = tokio::spawn(async move { caller.unary_bytes(PUT, b"x").await });
            members.call().await.answer(b"fine");
            assert_eq!(called.await.unwrap().unwrap(), "fine");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let endpoints = http1::get(&proxy.address, "/v2/config/local/proxy").await.json();
        assert_eq!(endpoints["endpoints"].as_array().map(Vec::len), Some(1), "{endpoints}");
    });
}

#[test]
fn a_member_that_takes_nothing_within_the_write_timeout_is_a_lost_one() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let plan = members.plan().arguments(&["--proxy-write-timeout", "300"]);
        let proxy = members.start_proved(plan).await;
        members.prove_http(&proxy.address).await;
        members.set_all(Conduct::Silent);
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let length = 64 << 20;
        let head =
            format!("PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        client.send(head).await.unwrap();
        let block = vec![7; 1 << 20];
        tokio::select! {
            head = async {
                while client.send(&block).await.is_ok() {}
                client.head().await
            } => assert!(head.is_err() || head.unwrap().status == 502),
            () = tokio::time::sleep(Duration::from_secs(20)) => {
                panic!("neither refused nor answered: {}", proxy.process.tail())
            }
        }
        let said = proxy.process.wait_for_line("proxy-write-timeout", Duration::from_secs(5));
        assert!(said.is_some(), "{}", proxy.process.tail());
    });
}

#[test]
fn a_client_that_sends_slowly_is_not_held_against_the_member() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let timeouts = ["--proxy-write-timeout", "200", "--proxy-dial-timeout", "200"];
        let proxy = members.start_proved(members.plan().arguments(&timeouts)).await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client
            .send("PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
            .await
            .unwrap();
        let mut exchange = members.exchange().await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut call = channel.call(RANGE).await.unwrap();
        let mut member_call = members.call().await;
        for byte in ["a", "b", "c"] {
            tokio::time::sleep(Duration::from_millis(250)).await;
            client.send(byte).await.unwrap();
            call.send_raw(byte.as_bytes(), byte == "c").unwrap();
        }
        assert_eq!(exchange.body().await.unwrap(), b"abc");
        exchange.answer(200, "").await;
        assert_eq!(client.head().await.unwrap().status, 200);
        assert_eq!(member_call.read_all().await.unwrap().0, b"abc");
        member_call.answer(b"fine");
        assert_eq!(call.next_bytes().await.unwrap().unwrap(), "fine");
    });
}
