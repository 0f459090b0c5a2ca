//! HTTP/1.1 connections to members that send one scripted response each.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::message::headers::ForwardingHeaders;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::worker_endpoint::{Timeouts, WorkerEndpoint};

/// Both ends of a connection to a member.
struct Pair {
    upstream: Rc<WorkerEndpoint>,
    connection: IdleConn,
    member: TcpStream,
}

async fn pair() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let endpoint =
        Endpoint::new(&url, 1, "m", 1, http::uri::Scheme::HTTP, "127.0.0.1", port, 1).unwrap();
    endpoint.exempt();
    let timeouts = Timeouts::default();
    let upstream = Rc::new(WorkerEndpoint::new(Arc::new(endpoint), 0, timeouts, Arc::default()));
    let (connection, member) = tokio::join!(upstream.new_http1(), listener.accept());
    Pair { upstream, connection: connection.unwrap(), member: member.unwrap().0 }
}

/// Sends a request with these headers and this body, which the member need not have read.
fn send(
    pair: IdleConn,
    upstream: &Rc<WorkerEndpoint>,
    method: Method,
    headers: &HeaderMap,
    body: ReplayBody,
) -> impl Future<Output = Result<Response<ResponseBody>, SendError>> + use<> {
    let head = RequestHead {
        method: &method,
        target: &PathAndQuery::from_static("/v2/keys/a?wait=true"),
        host: &HeaderValue::from_static("member:2379"),
        headers,
        ours: ForwardingHeaders { forwarded_for: None, hop: Some(&HeaderValue::from_static("me")) },
    };
    pair.send(&head, body, upstream.idle().clone())
}

/// Returns what the proxy gets from a member that sends `says` and closes.
async fn answer(says: &[u8]) -> Result<(Response<()>, Result<Bytes, Error>, HeaderMap), SendError> {
    let Pair { upstream, connection, mut member } = pair().await;
    member.write_all(says).await.unwrap();
    member.shutdown().await.unwrap();
    let headers = HeaderMap::new();
    let response = send(connection, &upstream, Method::GET, &headers, ReplayBody::empty()).await?;
    let (head, body) = response.into_parts();
    let (bytes, trailers) = match body.collect().await {
        Ok(all) => {
            let trailers = all.trailers().cloned().unwrap_or_default();
            (Ok(all.to_bytes()), trailers)
        }
        Err(error) => (Err(error), HeaderMap::new()),
    };
    Ok((Response::from_parts(head, ()), bytes, trailers))
}

async fn body_of(says: &str) -> Result<String, String> {
    let (_, body, _) =
        answer(says.as_bytes()).await.map_err(|send_error| send_error.error.to_string())?;
    body.map(|bytes| String::from_utf8(bytes.into()).unwrap()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_body_ends_where_its_framing_says() {
    for (says, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"),
        ("HTTP/1.0 200 OK\r\n\r\nold", "old"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            "abc",
        ),
        // With chunks a Content-Length is ignored.
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            "ab",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz",
            "z",
        ),
    ] {
        assert_eq!(body_of(says).await.as_deref(), Ok(body), "{says:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_cannot_be_trusted_is_an_error() {
    for (says, error) in [
        ("", "connection closed before an answer"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "connection closed before an answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "connection closed within an answer"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            "connection closed within an answer",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
            "not a well-framed answer: chunk longer than its size",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "not a well-framed answer: chunk without a size",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "not a well-framed answer: chunk without a size",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "not a well-framed answer: Transfer-Encoding other than a single \"chunked\"",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "not a well-framed answer: conflicting Content-Lengths",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
            "not a well-framed answer: invalid Content-Length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\na",
            "not a well-framed answer: invalid Content-Length",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "not an HTTP/1.1 answer: it switches protocols unasked",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP/1.1 answer: unsupported HTTP version"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not an HTTP/1.1 answer: invalid header name"),
    ] {
        assert_eq!(body_of(says).await, Err(error.into()), "{says:?}");
    }
}

#[tokio::test]
async fn a_member_that_says_go_on_without_end_is_given_up() {
    let says = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    assert_eq!(
        body_of(&says).await.unwrap_err(),
        "not an HTTP/1.1 answer: too many informational responses"
    );
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let says = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(1_200_000));
    assert_eq!(body_of(&says).await.unwrap_err(), "head of the answer exceeds 1048576 bytes");
}

#[tokio::test]
async fn headers_of_one_hop_do_not_pass_and_all_others_do() {
    let says = b"HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
        X-Etcd-Index: 7\r\nX-Etcd-Index: 8\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n1\r\na\r\n0\r\nX-End: 1\r\n\r\n";
    let (head, body, trailers) = answer(says).await.unwrap();
    assert_eq!(body.unwrap(), "a");
    let mut passed: Vec<_> = head
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    passed.sort();
    assert_eq!(passed, [("trailer", "X-End"), ("x-etcd-index", "7"), ("x-etcd-index", "8")]);
    assert_eq!(trailers["x-end"], "1");
    let reason = head.extensions().get::<hyper::ext::ReasonPhrase>().unwrap();
    assert_eq!(reason.as_bytes(), b"Fine");
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_the_same() {
    let says = b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;e\r\nde\r\n0\r\nT: u\r\n\r\n";
    let Pair { upstream, connection, mut member } = pair().await;
    member.set_nodelay(true).unwrap();
    let slowly = async {
        for byte in says {
            member.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let headers = HeaderMap::new();
    let read = async {
        let sent = send(connection, &upstream, Method::GET, &headers, ReplayBody::empty());
        let response = sent.await.unwrap();
        assert_eq!(response.headers()["a"], "b");
        response.into_body().collect().await.unwrap()
    };
    let ((), all) = tokio::join!(slowly, read);
    assert_eq!(all.trailers().unwrap()["t"], "u");
    assert_eq!(all.to_bytes(), "abcde");
}

/// Returns what one read of the member brings of a request with this body.
async fn written(
    method: Method,
    headers: &[(&'static str, &'static str)],
    body: &'static str,
) -> String {
    let Pair { upstream, connection, mut member } = pair().await;
    let headers = headers
        .iter()
        .map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v)))
        .collect();
    let body = if body.is_empty() { ReplayBody::empty() } else { ReplayBody::whole(body.into()) };
    let sent = tokio::task::LocalSet::new();
    let request = send(connection, &upstream, method, &headers, body);
    sent.spawn_local(async move { request.await.map(drop) });
    sent.run_until(async {
        let mut read = vec![0; 4096];
        let count = member.read(&mut read).await.unwrap();
        String::from_utf8(read[..count].to_vec()).unwrap()
    })
    .await
}

#[tokio::test]
async fn a_small_request_goes_up_in_one_piece() {
    assert_eq!(
        written(
            Method::GET,
            &[("host", "client"), ("accept", "*/*"), ("expect", "100-continue")],
            ""
        )
        .await,
        "GET /v2/keys/a?wait=true HTTP/1.1\r\nhost: member:2379\r\naccept: */*\r\netcd-proxy-hop: me\r\n\r\n"
    );
    assert_eq!(
        written(Method::PUT, &[("content-length", "7")], "value=1").await,
        "PUT /v2/keys/a?wait=true HTTP/1.1\r\nhost: member:2379\r\ncontent-length: 7\r\netcd-proxy-hop: me\r\n\r\nvalue=1"
    );
    // A known length is sent even if the client did not send it.
    assert!(
        written(Method::PUT, &[], "value=1").await.ends_with("content-length: 7\r\n\r\nvalue=1")
    );
    assert!(written(Method::POST, &[], "").await.ends_with("content-length: 0\r\n\r\n"));
}

#[tokio::test]
async fn a_connection_is_kept_only_behind_a_whole_answer_that_allows_it() {
    for (says, kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", true),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", false),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", false),
    ] {
        let Pair { upstream, connection, mut member } = pair().await;
        member.write_all(says.as_bytes()).await.unwrap();
        let headers = HeaderMap::new();
        let response =
            send(connection, &upstream, Method::GET, &headers, ReplayBody::empty()).await;
        assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "a");
        assert_eq!(upstream.http1().await.is_ok_and(|idle| idle.was_kept()), kept, "{says:?}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_read_is_passed_on() {
    let Pair { upstream, connection, mut member } = pair().await;
    let large = ReplayBody::whole(vec![0; 32 << 20].into());
    let headers = HeaderMap::new();
    let sent = send(connection, &upstream, Method::PUT, &headers, large);
    let refuse = async {
        let said = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 4\r\n\r\nmuch";
        member.write_all(said).await.unwrap();
        member
    };
    let (response, member) = tokio::join!(sent, refuse);
    let response = response.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "much");
    drop(member);
    assert!(!upstream.http1().await.is_ok_and(|idle| idle.was_kept()), "half a request is on it");
}

#[tokio::test]
async fn a_connection_that_its_member_has_closed_is_not_alive() {
    let Pair { mut connection, member, .. } = pair().await;
    assert!(connection.is_alive());
    drop(member);
    let closed = async {
        while connection.is_alive() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), closed).await.unwrap();
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let Pair { upstream, connection, mut member } = pair().await;
    let large: Vec<u8> = (0..10_000_000u32).map(|n| (n % 251) as u8).collect();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", large.len());
    let write = async {
        member.write_all(head.as_bytes()).await.unwrap();
        member.write_all(&large).await.unwrap();
    };
    let headers = HeaderMap::new();
    let read = async {
        let sent = send(connection, &upstream, Method::GET, &headers, ReplayBody::empty());
        sent.await.unwrap().into_body().collect().await.unwrap().to_bytes()
    };
    let ((), arrived) = tokio::join!(write, read);
    assert!(arrived == large);
}
