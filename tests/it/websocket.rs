//! WebSocket on the JSON gateway: bytes go both ways after the member's 101, and not before it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::members::{Conduct, Members};
use crate::support::{http1, run, shared};

const HANDSHAKE: &str = "GET /v3/watch HTTP/1.1\r\nHost: etcd.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\nAuthorization: me\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: xyz\r\n\r\n";

#[test]
fn after_the_101_bytes_go_both_ways_until_either_side_leaves() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for client_leaves in [false, true] {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            client.send(HANDSHAKE).await.unwrap();
            let mut exchange = members.exchange().await;
            for (name, value) in [
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-key", "abc"),
                ("authorization", "me"),
                ("host", &members.address(0)),
                ("x-forwarded-for", "127.0.0.1"),
            ] {
                assert_eq!(exchange.header(name), Some(value), "{name}");
            }
            exchange.send(format!("{SWITCH}early")).await.unwrap();
            let head = client.head().await.unwrap();
            assert_eq!(head.status, 101);
            assert_eq!(head.header("upgrade"), Some("websocket"));
            assert_eq!(head.header("sec-websocket-accept"), Some("xyz"));
            assert_eq!(client.exactly(5).await.unwrap(), b"early");
            for round in 0..5 {
                let text = format!("round {round}");
                client.send(&text).await.unwrap();
                assert_eq!(exchange.exactly(text.len()).await.unwrap(), text.as_bytes());
                exchange.send(&text).await.unwrap();
                assert_eq!(client.exactly(text.len()).await.unwrap(), text.as_bytes());
            }
            if client_leaves {
                drop(client);
                exchange.until_closed().await;
            } else {
                drop(exchange);
                assert!(client.is_closed().await);
            }
        }
    });
}

#[test]
fn nothing_that_follows_the_handshake_reaches_the_member_before_its_101() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        members.prove_http(&proxy.address).await;
        members.set_all(Conduct::Raw);
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let smuggled = "POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        client.send(format!("{HANDSHAKE}{smuggled}")).await.unwrap();
        let (_, mut member) = members.raw().await;
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(member.read_u8().await.unwrap());
        }
        // The member refuses the upgrade. The bytes that followed are then a request of their own,
        // which the proxy has to examine, and must not reach this connection.
        member.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(head.status, 400);
        assert_eq!(client.body(&head).await.unwrap(), b"no");
        let mut rest = Vec::new();
        member.read_to_end(&mut rest).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    });
}

#[test]
fn what_a_client_says_before_the_101_arrives_as_it_is_or_ends_the_connection() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        for (early, may_be_cut) in [(&b"\x81\x02hi"[..], false), (b"\x81\x03h\ni", true)] {
            let mut client = http1::Connection::open(&proxy.address).await.unwrap();
            client.send(HANDSHAKE).await.unwrap();
            let mut exchange = members.exchange().await;
            client.send(early).await.unwrap();
            // Usually enough time for the proxy to read the early bytes.
            exchange.until_closed_or_idle().await;
            exchange.send(SWITCH).await.unwrap();
            assert_eq!(client.head().await.unwrap().status, 101);
            let mut seen = Vec::new();
            while seen.len() < early.len()
                && let Ok(byte) = exchange.exactly(1).await
            {
                seen.extend(byte);
            }
            assert!(early.starts_with(&seen), "{seen:?}");
            if seen.len() < early.len() {
                assert!(may_be_cut && client.is_closed().await);
            }
        }
    });
}

#[test]
fn a_refusal_passes_with_its_status_and_body() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send(HANDSHAKE).await.unwrap();
        members.exchange().await.answer(403, "not you").await;
        let head = client.head().await.unwrap();
        assert_eq!(head.status, 403);
        assert_eq!(client.body(&head).await.unwrap(), b"not you");
        // The connection can still be used for requests.
        client.send_request("GET", "/version", &[], "").await.unwrap();
        members.exchange().await.answer(200, "fine").await;
        assert_eq!(client.head().await.unwrap().status, 200);
    });
}

#[test]
fn a_member_that_switches_without_saying_to_what_is_a_failed_member() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send(HANDSHAKE).await.unwrap();
        let mut exchange = members.exchange().await;
        exchange.send("HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
        assert_eq!(client.head().await.unwrap().status, 502);
    });
}

#[test]
fn a_handshake_elsewhere_is_a_plain_request() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send(HANDSHAKE.replace("/v3/watch", "/v2/keys/a")).await.unwrap();
        let exchange = members.exchange().await;
        assert_eq!(exchange.header("upgrade"), None);
        exchange.answer(200, "plain").await;
        assert_eq!(client.head().await.unwrap().status, 200);
    });
}

/// Only WebSocket is offered to a member, whatever else the client offers: the member must not
/// switch to a protocol that the proxy does not read.
#[test]
fn only_websocket_is_offered_to_a_member_and_only_that_is_switched_to() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let handshake = HANDSHAKE
            .replace("Upgrade: websocket", "HTTP2-Settings: AAMAAABk\r\nUpgrade: websocket, h2c")
            .replace("Connection: Upgrade", "Connection: Upgrade, HTTP2-Settings");
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send(&handshake).await.unwrap();
        let mut exchange = members.exchange().await;
        assert_eq!(exchange.header("upgrade"), Some("websocket"));
        assert_eq!(exchange.header("connection"), Some("Upgrade"));
        assert_eq!(exchange.header("http2-settings"), None);
        exchange.send(SWITCH.replace("Upgrade: websocket", "Upgrade: h2c")).await.unwrap();
        assert_eq!(client.head().await.unwrap().status, 502);
    });
}

#[test]
fn http2_settings_do_not_pass_even_if_connection_does_not_name_them() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.proxy().await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        let headers = ["Upgrade: h2c", "HTTP2-Settings: AAMAAABk"];
        client.send_request("GET", "/version", &headers, "").await.unwrap();
        let exchange = members.exchange().await;
        assert_eq!((exchange.header("upgrade"), exchange.header("http2-settings")), (None, None));
    });
}

#[test]
fn a_handshake_that_a_hung_member_does_not_answer_is_given_up() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        // Whether the member speaks HTTP is known from here on.
        let address = proxy.address.clone();
        let version = tokio::spawn(async move { http1::get(&address, "/version").await.status });
        members.exchange().await.answer(200, "{}").await;
        assert_eq!(version.await.unwrap(), 200);
        members.hang(0, true);
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send(HANDSHAKE).await.unwrap();
        let _unanswered = members.exchange().await;
        assert_eq!(client.head().await.unwrap().status, 502);
    });
}
