//! The v2 API, for clusters without v3: `/v2/members` and `/health` over HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;

use crate::cluster::member::{Member, MemberList};
use crate::net::http_client;
use crate::net::maybe_tls::MaybeTlsStream;

/// Largest answer that is read, in bytes.
const MOST: usize = 1 << 20;

/// Sends one request. Returns the status, the cluster's ID and the body.
async fn exchange(
    stream: MaybeTlsStream,
    authority: &str,
    user: Option<&(String, String)>,
    (method, path, body): (Method, &str, String),
) -> Result<(StatusCode, u64, Bytes), String> {
    let mut request = Request::builder().method(method).uri(path).header(HOST, authority);
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some((name, password)) = user {
        let login = base64(format!("{name}:{password}").as_bytes());
        request = request.header(AUTHORIZATION, format!("Basic {login}"));
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;
    let mut reply = http_client::send(stream, request).await.map_err(|error| error.to_string())?;
    let id = reply.head.headers.get("x-etcd-cluster-id").and_then(|id| id.to_str().ok());
    let id = id.and_then(|id| u64::from_str_radix(id, 16).ok()).unwrap_or_default();
    let body = reply.read_body(MOST).await.map_err(|error| error.to_string())?;
    Ok((reply.head.status, id, body))
}

/// Returns the member list.
pub(super) async fn members(
    stream: MaybeTlsStream,
    authority: &str,
    user: Option<&(String, String)>,
    limit: Duration,
) -> Result<MemberList, String> {
    let get = (Method::GET, "/v2/members", String::new());
    let (status, cluster_id, body) = within(limit, exchange(stream, authority, user, get)).await?;
    if status != StatusCode::OK {
        return Err(words(status, &body));
    }
    let list: WireList = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let members = list.members.into_iter().map(Member::try_from).collect::<Result<_, _>>()?;
    Ok(MemberList { cluster_id, members })
}

/// Adds a member with these peer URLs, and returns it.
///
/// # Errors
/// The reason, and whether it is certain that nothing was changed, as after a refusal.
pub(super) async fn add(
    stream: MaybeTlsStream,
    authority: &str,
    user: Option<&(String, String)>,
    peer_urls: &[String],
    limit: Duration,
) -> Result<Member, (String, bool)> {
    let post = (Method::POST, "/v2/members", json!({ "peerURLs": peer_urls }).to_string());
    let unsure = |reason: String| (reason, false);
    let asked = within(limit, exchange(stream, authority, user, post)).await;
    let (status, _, body) = asked.map_err(unsure)?;
    if status != StatusCode::CREATED {
        return Err((words(status, &body), status.is_client_error()));
    }
    let member: Result<WireMember, _> = serde_json::from_slice(&body);
    let member = member.map_err(|error| unsure(error.to_string()))?;
    member.try_into().map_err(unsure)
}

/// Checks the health of one member.
pub(super) async fn health(
    stream: MaybeTlsStream,
    authority: &str,
    limit: Duration,
) -> Result<(), String> {
    let get = (Method::GET, "/health", String::new());
    let (status, _, body) = within(limit, exchange(stream, authority, None, get)).await?;
    if status == StatusCode::OK { Ok(()) } else { Err(words(status, &body)) }
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::time::timeout(limit, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

/// Returns the error of an answer: the member's own message if there is one, and the status.
fn words(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Complaint {
        message: String,
    }
    match serde_json::from_slice::<Complaint>(body) {
        Ok(complaint) => format!("{} (HTTP status {})", complaint.message, status.as_u16()),
        Err(_) => format!("HTTP status {}", status.as_u16()),
    }
}

/// Encodes as base64 (RFC 4648) with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for location in 0..4 {
            let sextet = group >> (18 - 6 * location) & 63;
            let letter = LETTERS.get(sextet as usize).copied().unwrap_or(b'=');
            text.push(if location > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[derive(Deserialize)]
struct WireList {
    members: Vec<WireMember>,
}

#[derive(Deserialize)]
struct WireMember {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
}

impl TryFrom<WireMember> for Member {
    type Error = String;

    fn try_from(wire: WireMember) -> Result<Self, String> {
        let WireMember { id, name, peer_urls, client_urls } = wire;
        let id = u64::from_str_radix(&id, 16).map_err(|_| format!("invalid member ID {id:?}"))?;
        Ok(Self { id, name, peer_urls, client_urls, is_learner: false })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_padded() {
        let encoded = ["", "f", "fo", "foo", "foob"].map(|text| super::base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
