use super::*;
use crate::cluster::scripted::{Script, ScriptedPeer, answer, members, refusing};
use crate::net::http_client::HEAD_LIMIT;

const ONE: &str =
    r#"[{"id":1,"name":"infra0","peerURLs":["http://a:2380"],"clientURLs":["http://a:2379"]}]"#;

/// Fetches from a peer that answers with these bytes, and returns the error.
async fn said(answer: impl AsRef<[u8]>) -> String {
    let peer = ScriptedPeer::saying(answer).await;
    fetch(&peer.url, &Access::default()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_good_answer_is_a_member_list() {
    let peer = ScriptedPeer::with_list("cdf818194e3a8c32", &format!("{ONE}\n")).await;
    let list = fetch(&peer.url, &Access::default()).await.unwrap();
    assert_eq!(list.cluster_id, 0xcdf8_1819_4e3a_8c32);
    assert_eq!(list.members[0].client_urls, ["http://a:2379"]);
}

#[tokio::test]
async fn a_chunked_answer_is_read_too() {
    let head = "HTTP/1.1 200 OK\r\nX-Etcd-Cluster-ID: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let peer = ScriptedPeer::saying(format!("{head}{:x}\r\n{ONE}\r\n0\r\n\r\n", ONE.len())).await;
    assert_eq!(fetch(&peer.url, &Access::default()).await.unwrap().members.len(), 1);
}

#[tokio::test]
async fn a_refusal_is_said() {
    let error = fetch(&refusing().await, &Access::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "connection refused");
}

#[tokio::test]
async fn silence_ends_at_the_limit() {
    let peer = ScriptedPeer::new(Script::Hang).await;
    let error =
        fetch_within(Duration::from_millis(100), &peer.url, &Access::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer to GET /members within 100ms");
}

#[tokio::test]
async fn a_client_port_is_recognised() {
    let said = said(answer("404 Not Found", "", "404 page not found\n")).await;
    assert_eq!(
        said,
        "it answered status 404: this looks like a client port; the peer port is usually 2380"
    );
}

#[tokio::test]
async fn another_status_is_said() {
    assert_eq!(
        said(answer("500 Internal Server Error", "", "oops")).await,
        "it answered status 500"
    );
    assert_eq!(said(answer("400 Bad Request", "", "oops")).await, "it answered status 400");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = ScriptedPeer::with_list("1", ONE).await;
    let said =
        said(answer("307 Temporary Redirect", &format!("Location: {}/members\r\n", other.url), ""))
            .await;
    assert_eq!(said, "it answered with a redirect (status 307), which is not followed");
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn tls_is_recognised_by_the_words_of_go() {
    let go = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    assert_eq!(said(go).await, "it speaks TLS, but the URL says http");
}

#[tokio::test]
async fn tls_is_recognised_by_its_alert() {
    let alert = [0x15, 3, 1, 0, 2, 2, 10];
    assert_eq!(said(alert).await, "it speaks TLS, but the URL says http");
}

#[tokio::test]
async fn a_connection_closed_without_a_word_hints_at_tls() {
    assert_eq!(
        said("").await,
        "it closed the connection without an answer, as a port that speaks TLS does"
    );
}

#[tokio::test]
async fn another_protocol_is_not_http() {
    assert_eq!(
        said("SSH-2.0-OpenSSH_9.2\r\n").await,
        "it does not answer in HTTP; is this an etcd peer port?"
    );
    assert_eq!(
        said("\x00\x00\x12\x04\x00\x00").await,
        "it does not answer in HTTP; is this an etcd peer port?"
    );
}

#[tokio::test]
async fn a_missing_or_broken_cluster_id_is_said() {
    assert_eq!(
        said(answer("200 OK", "", ONE)).await,
        "its answer has no X-Etcd-Cluster-ID; is this an etcd peer port?"
    );
    for id in ["", "0x1f", "-1", "CDF8", "11111111111111111", "+1"] {
        let said = said(members(id, ONE)).await;
        assert_eq!(
            said, "its X-Etcd-Cluster-ID is not a lowercase hexadecimal number of 64 bits",
            "{id}"
        );
    }
}

#[tokio::test]
async fn junk_and_an_empty_list_are_told_apart() {
    assert_eq!(
        said(members("1", "<html>")).await,
        "its answer is not a member list: not JSON (line 1, column 1)"
    );
    assert_eq!(said(members("1", "[]")).await, "its member list is empty");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let body = " ".repeat(BODY_LIMIT + 1);
    assert_eq!(said(members("1", &body)).await, "its answer is larger than any member list");
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(4 * HEAD_LIMIT));
    assert_eq!(said(head).await, "its answer is larger than any member list");
}

#[tokio::test]
async fn an_answer_cut_short_is_said() {
    let whole = members("1", ONE);
    let said_in_body = said(&whole[..whole.len() - 5]).await;
    assert_eq!(said_in_body, "the connection broke in the middle of its answer");
    assert_eq!(
        said("HTTP/1.1 200 OK\r\nX-Etcd").await,
        "the connection broke in the middle of its answer"
    );
}
