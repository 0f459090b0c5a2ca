//! One peer's answer to `GET /members`, or one sentence on why there is none.
//!
//! The peer is not trusted: the whole exchange has a limit in time, its head and body in size, and
//! redirects are not followed (etcd stopped following them for safety as well).

mod access;
mod error;

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::member::{ListError, MemberList};
use crate::config::PeerUrl;
use crate::net::dial::Authority;
use crate::net::maybe_tls::MaybeTlsStream;

pub use access::Access;
pub use error::FetchError;

/// Limit for one exchange, connecting included; etcd raised its own to this for slow links.
pub const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// Largest member list that is read; a hundred members need some 20 KiB.
const BODY_LIMIT: usize = 1024 * 1024;

/// Largest response head that is read; hyper wants at least 8 KiB.
const HEAD_LIMIT: usize = 64 * 1024;

/// What Go's servers answer on a TLS port to plain HTTP.
const GO_TLS_HINT: &[u8] = b"Client sent an HTTP request to an HTTPS server";

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
        match exchange(access.connect(peer).await?, peer).await {
            Ok(list) => Ok(list),
            Err((Some(source), error)) => Err(access.explain(peer, &source, error).await),
            Err((None, error)) => Err(error),
        }
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(FetchError::NoAnswer(limit)))
}

/// Sends the request and reads the answer, driving the connection meanwhile instead of in a task of
/// its own.
async fn exchange(
    stream: MaybeTlsStream,
    peer: &PeerUrl,
) -> Result<MemberList, (Option<hyper::Error>, FetchError)> {
    let (sender, mut connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| (None, FetchError::Broken(error.to_string())))?;
    let mut answer = std::pin::pin!(request(sender, peer));
    let mut driving = true;
    let result = loop {
        tokio::select! {
            biased;
            result = &mut answer => break result,
            _ = &mut connection, if driving => driving = false,
        }
    };
    result.map_err(|failure| match failure {
        // What could not be parsed is still in the connection's buffer.
        Failure::Http(error) => {
            let found = explain(&error, &connection.into_parts().read_buf);
            (Some(error), found)
        }
        Failure::Answer(error) => (None, error),
    })
}

enum Failure {
    Http(hyper::Error),
    Answer(FetchError),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Answer(error)
    }
}

async fn request(
    mut sender: http1::SendRequest<Empty<Bytes>>,
    peer: &PeerUrl,
) -> Result<MemberList, Failure> {
    let host = Authority(&peer.host, peer.port).to_string();
    let request = http::Request::get("/members")
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("etcd-proxy/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|_| FetchError::Broken("its host name does not fit into a request".to_owned()))?;
    let response = sender.send_request(request).await.map_err(Failure::Http)?;
    Ok(read(response).await?)
}

async fn read(response: Response<Incoming>) -> Result<MemberList, FetchError> {
    let (head, body) = response.into_parts();
    match head.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(FetchError::ClientPort),
        StatusCode::BAD_REQUEST if read_body(body).await?.starts_with(GO_TLS_HINT) => {
            return Err(FetchError::Tls);
        }
        status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
        status => return Err(FetchError::Status(status.as_u16())),
    }
    let cluster_id = cluster_id(&head.headers)?;
    match MemberList::parse(cluster_id, &read_body(body).await?) {
        Ok(list) => Ok(list),
        Err(ListError::Empty) => Err(FetchError::Empty),
        Err(error) => Err(FetchError::Junk(error)),
    }
}

/// Reads the header as etcd writes it: hexadecimal without prefix or padding.
fn cluster_id(headers: &http::HeaderMap) -> Result<u64, FetchError> {
    let value = headers.get("x-etcd-cluster-id").ok_or(FetchError::NoClusterId)?;
    let text = value.to_str().map_err(|_| FetchError::BadClusterId)?;
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().ok_or(FetchError::BadClusterId)
}

async fn read_body(body: Incoming) -> Result<Bytes, FetchError> {
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
        Err(_) => {
            Err(FetchError::Broken("the connection broke in the middle of its answer".to_owned()))
        }
    }
}

/// Finds the sentence for an exchange that failed before the response head was there; `unread` is
/// what came instead.
fn explain(error: &hyper::Error, unread: &[u8]) -> FetchError {
    match unread.first() {
        Some(&TLS_ALERT) => FetchError::Tls,
        Some(_) if error.is_parse_too_large() => FetchError::TooLarge,
        Some(_) if error.is_parse() => FetchError::NotHttp,
        Some(_) => {
            FetchError::Broken("the connection broke in the middle of its answer".to_owned())
        }
        None if error.is_parse() => FetchError::NotHttp,
        None => FetchError::Hung,
    }
}

#[cfg(test)]
mod tests;
