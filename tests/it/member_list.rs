//! `rewrite-members` with members that give every answer but the usual one.

use crate::support::grpc::Channel;
use crate::support::http1::Answer;
use crate::support::members::Members;
use crate::support::proxy::Proxy;
use crate::support::{http1, run, shared};

const LIST: &str = "/etcdserverpb.Cluster/MemberList";
const OURS: &str = "http://10.9.9.9:2379";

async fn rewriting(members: &Members) -> Proxy {
    members
        .start_proved(members.plan().arguments(&[
            "--rewrite-members",
            "--advertise-client-urls",
            OURS,
        ]))
        .await
}

/// Asks for a list and makes the member send these bytes.
async fn answered(members: &mut Members, proxy: &Proxy, path: &str, said: &[u8]) -> Answer {
    let mut client = http1::Connection::open(&proxy.address).await.unwrap();
    let asked = ["Accept-Encoding: gzip"];
    client.send_request("GET", path, &asked, "").await.unwrap();
    let mut exchange = members.exchange().await;
    assert_eq!(exchange.header("accept-encoding"), None, "it must not reach the member");
    exchange.send(said).await.unwrap();
    drop(exchange);
    let head = client.head().await.unwrap();
    let body = client.body(&head).await.unwrap();
    Answer { status: head.status, headers: head.headers, body }
}

#[test]
fn a_list_in_chunks_gets_a_length() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = rewriting(&members).await;
        let mut said =
            "HTTP/1.1 200 OK\r\nX-Etcd-Index: 7\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for piece in ["{\"members\": [{\"clientURLs", "\":[\"http://a\"", "]}]}", ""] {
            said.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
        }
        let answer = answered(&mut members, &proxy, "/v2/members", said.as_bytes()).await;
        assert_eq!(answer.text(), format!("{{\"members\": [{{\"clientURLs\":[\"{OURS}\"]}}]}}"));
        assert_eq!(answer.header("x-etcd-index"), Some("7"));
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    });
}

#[test]
fn an_error_of_the_member_passes_as_it_is() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = rewriting(&members).await;
        let said = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?";
        let answer = answered(&mut members, &proxy, "/v2/members", said).await;
        assert_eq!((answer.status, answer.text()), (401, "who?".to_owned()));
    });
}

#[test]
fn a_list_that_cannot_be_rewritten_is_an_error_and_never_cut() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = rewriting(&members).await;
        let long = format!("{{\"members\":[],\"x\":\"{}\"}}", "x".repeat(1 << 20));
        for (head, body, words) in [
            ("", long.as_str(), "longer than 1 MiB"),
            ("Content-Encoding: gzip\r\n", "{\"members\":[]}", "cannot be read"),
            ("", "<html>", "cannot be read"),
        ] {
            let length = body.len();
            let said = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {length}\r\n\r\n{body}");
            let answer = answered(&mut members, &proxy, "/v2/members", said.as_bytes()).await;
            assert_eq!(answer.status, 502, "{answer:?}");
            assert!(answer.text().contains(words), "{answer:?}");
        }
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"members\":[";
        let answer = answered(&mut members, &proxy, "/v2/members", cut).await;
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains("was lost"), "{answer:?}");
    });
}

#[test]
fn other_paths_are_not_looked_at() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = rewriting(&members).await;
        for path in ["/v2/keys/members", "/v2/members/leader", "/v3/cluster/member/list"] {
            let asked = http1::get(&proxy.address, path);
            let serve = async {
                let exchange = members.exchange().await;
                exchange.answer(200, "{\"members\":[{\"clientURLs\":[\"http://a\"]}]}").await;
            };
            let (answer, ()) = tokio::join!(asked, serve);
            assert!(answer.text().contains("http://a"), "{path}: {answer:?}");
        }
    });
}

#[test]
fn grpc_lists_keep_unknown_fields_and_trailers() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = rewriting(&members).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        // Field 9 is unknown; field 2 is a member with one client URL.
        let list = |url: &str| {
            let member = [&[8, 1, 34, url.len() as u8], url.as_bytes()].concat();
            [&[0x4a, 1, b'?', 18, member.len() as u8], member.as_slice()].concat()
        };
        let call = channel.unary_bytes(LIST, b"");
        let serve = async { members.call().await.answer(&list("http://a")) };
        let (answer, ()) = tokio::join!(call, serve);
        assert_eq!(answer.unwrap(), list(OURS));

        let call = channel.unary_bytes(LIST, b"");
        let serve = async { members.call().await.refuse(16, "who are you") };
        let (answer, ()) = tokio::join!(call, serve);
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), Some(16), "{refused}");

        let call = channel.unary_bytes(LIST, b"");
        let serve = async {
            let mut reply = members.call().await.begin();
            reply.message(&list("http://a"));
            reply.finish(14, "gone");
        };
        let (answer, ()) = tokio::join!(call, serve);
        assert_eq!(answer.unwrap_err().code(), Some(14));

        let call = channel.unary_bytes(LIST, b"");
        let serve = async { members.call().await.answer(b"\xff\xff") };
        let (answer, ()) = tokio::join!(call, serve);
        let unread = answer.unwrap_err();
        assert_eq!(unread.code(), Some(9), "{unread}");
        assert!(unread.to_string().contains("cannot be read"), "{unread}");
    });
}
