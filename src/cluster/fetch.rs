//! Fetches the member list from one peer with `GET /members`.
//!
//! The peer is not trusted: the exchange has a deadline, head and body have a size limit, and
//! redirects are not followed (etcd stopped following them for security too).

mod access;
mod error;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::member::{ListError, MemberList};
use crate::config::PeerUrl;
use crate::net::dial::Authority;
use crate::net::http_client::{self, BodyError, NoReply, Reply};

pub use access::Access;
pub use error::FetchError;

/// Deadline of one exchange, connecting included; etcd raised its own to this for slow links.
pub const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// Largest member list that is read, in bytes; a hundred members need some 20 KiB.
const BODY_LIMIT: usize = 1024 * 1024;

/// Start of the body with which Go's servers answer plain HTTP on a TLS port.
const GO_TLS_HINT: &[u8] = b"Client sent an HTTP request to an HTTPS server";

/// The reason when an answer begins but does not end.
const CUT_SHORT: &str = "the connection broke in the middle of its answer";

/// First byte of a TLS alert record.
const TLS_ALERT: u8 = 0x15;

/// Asks `peer` for the member list.
///
/// Dropping the future closes the connection.
pub async fn fetch(peer: &PeerUrl, access: &Access) -> Result<MemberList, FetchError> {
    fetch_within(FETCH_LIMIT, peer, access).await
}

async fn fetch_within(
    limit: Duration,
    peer: &PeerUrl,
    access: &Access,
) -> Result<MemberList, FetchError> {
    let exchange = async {
        let stream = access.connect(peer).await?;
        let host = Authority(&peer.host, peer.port).to_string();
        let request = http_client::get("/members", &host).map_err(|_| {
            FetchError::Broken("its host name does not fit into a request".to_owned())
        })?;
        match http_client::send(stream, request).await {
            Ok(reply) => read(reply).await,
            Err(no_reply) => {
                let error = explain(&no_reply);
                Err(access.explain(peer, &no_reply.error, error).await)
            }
        }
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(FetchError::NoAnswer(limit)))
}

async fn read(mut reply: Reply) -> Result<MemberList, FetchError> {
    let status = reply.head.status;
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(FetchError::ClientPort),
        StatusCode::BAD_REQUEST if read_body(&mut reply).await?.starts_with(GO_TLS_HINT) => {
            return Err(FetchError::Tls);
        }
        status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
        status => return Err(FetchError::Status(status.as_u16())),
    }
    let cluster_id = cluster_id(&reply.head.headers)?;
    match MemberList::parse(cluster_id, &read_body(&mut reply).await?) {
        Ok(list) => Ok(list),
        Err(ListError::Empty) => Err(FetchError::Empty),
        Err(error) => Err(FetchError::Junk(error)),
    }
}

/// Reads `X-Etcd-Cluster-ID` as etcd writes it: lowercase hexadecimal without prefix or padding.
fn cluster_id(headers: &http::HeaderMap) -> Result<u64, FetchError> {
    let value = headers.get("x-etcd-cluster-id").ok_or(FetchError::NoClusterId)?;
    let text = value.to_str().map_err(|_| FetchError::BadClusterId)?;
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().ok_or(FetchError::BadClusterId)
}

async fn read_body(reply: &mut Reply) -> Result<Bytes, FetchError> {
    reply.read_body(BODY_LIMIT).await.map_err(|error| match error {
        BodyError::TooLarge(_) => FetchError::TooLarge,
        BodyError::Broken(_) => FetchError::Broken(CUT_SHORT.to_owned()),
    })
}

/// Returns why no response head came, judged by the bytes that came instead.
fn explain(no_reply: &NoReply) -> FetchError {
    let error = &no_reply.error;
    match no_reply.unread.first() {
        Some(&TLS_ALERT) => FetchError::Tls,
        Some(_) if error.is_parse_too_large() => FetchError::TooLarge,
        Some(_) if error.is_parse() => FetchError::NotHttp,
        Some(_) => FetchError::Broken(CUT_SHORT.to_owned()),
        None if error.is_parse() => FetchError::NotHttp,
        None => FetchError::Hung,
    }
}

#[cfg(test)]
mod tests;
