use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

/// A connection to a server that reads one request and answers with these bytes.
fn server(answer: &str) -> (DuplexStream, tokio::task::JoinHandle<(DuplexStream, String)>) {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let answer = answer.to_owned();
    let asked = tokio::spawn(async move {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            request.push(char::from(theirs.read_u8().await.unwrap()));
        }
        theirs.write_all(answer.as_bytes()).await.unwrap();
        (theirs, request)
    });
    (ours, asked)
}

async fn reply_to_get(answer: &str) -> (Result<Reply, NoReply>, DuplexStream) {
    let (stream, asked) = server(answer);
    let sent = tokio::spawn(send(stream, get("/members", "infra0:2380").unwrap()));
    let (theirs, request) = asked.await.unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        request,
        format!(
            "GET /members HTTP/1.1\r\nhost: infra0:2380\r\nuser-agent: etcd-proxy/{version}\r\n\r\n"
        )
    );
    (sent.await.unwrap(), theirs)
}

#[tokio::test]
async fn a_reply_has_head_and_body() {
    let (reply, _theirs) =
        reply_to_get("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello").await;
    let mut reply = reply.unwrap();
    assert_eq!(reply.head.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.read_body(5).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let (reply, _theirs) = reply_to_get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let error = reply.unwrap().read_body(4).await.unwrap_err();
    assert!(matches!(error, BodyError::TooLarge(_)), "{error}");
}

#[tokio::test]
async fn a_body_cut_short_is_an_error() {
    let (reply, theirs) = reply_to_get("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").await;
    drop(theirs);
    let error = reply.unwrap().read_body(9).await.unwrap_err();
    assert!(matches!(error, BodyError::Broken(_)), "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_http_are_handed_back() {
    let (stream, asked) = server("SSH-2.0-OpenSSH_9.2\r\n");
    let no_reply = send(stream, get("/", "a").unwrap()).await.unwrap_err();
    assert!(no_reply.error.is_parse(), "{no_reply}");
    assert_eq!(no_reply.unread, "SSH-2.0-OpenSSH_9.2\r\n");
    drop(asked);
}

#[tokio::test]
async fn dropping_a_reply_closes_the_connection() {
    let (reply, mut theirs) =
        reply_to_get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    drop(reply.unwrap());
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn dropping_the_future_closes_the_connection() {
    let (stream, asked) = server("");
    let sent = tokio::spawn(send(stream, get("/", "a").unwrap()));
    let (mut theirs, _) = asked.await.unwrap();
    sent.abort();
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_tunnel_carries_bytes_and_a_refusal_has_its_status() {
    let (stream, asked) = server("HTTP/1.1 200 OK\r\n\r\nfirst");
    let mut tunnel = tunnel(stream, "a:2379").await.unwrap();
    let (mut theirs, request) = asked.await.unwrap();
    assert_eq!(request, "CONNECT a:2379 HTTP/1.1\r\nhost: a:2379\r\n\r\n");
    let mut received = [0; 5];
    tunnel.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"first");
    tunnel.write_all(b"answer").await.unwrap();
    tunnel.flush().await.unwrap();
    let mut sent = [0; 6];
    theirs.read_exact(&mut sent).await.unwrap();
    assert_eq!(&sent, b"answer");

    let (stream, _asked) = server("HTTP/1.1 403 Forbidden\r\n\r\n");
    let refused = super::tunnel(stream, "a:2379").await.map(drop).unwrap_err();
    assert!(matches!(refused, TunnelError::Refused(StatusCode::FORBIDDEN)), "{refused}");
}
