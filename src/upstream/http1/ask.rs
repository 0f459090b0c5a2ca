//! The proxy's own requests over HTTP/1.1, which find out whether a URL speaks it and whether its
//! member is healthy.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use http_body::Body;
use tokio::time::timeout;

use super::idle::IdleConn;
use super::{Error, RequestHead};
use crate::message::headers::ForwardingHeaders;
use crate::message::replay_body::ReplayBody;
use crate::upstream::connect_error::ConnectError;
use crate::upstream::protocols::{Api, Denial};
use crate::upstream::worker_endpoint::WorkerEndpoint;

/// Most bytes of an answer that are read; members send a few hundred.
const MAX_ANSWER: usize = 64 * 1024;
/// How long a member may take to answer with its version.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there was no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// No connection could be made.
    Connect(ConnectError),
    /// There was a connection, and no HTTP/1.1 answer came back on it. The error tells whether
    /// anything else did.
    Failed(Error),
    /// No answer came within 2 s.
    Late,
}

/// Sends one request over `connection`, with `json` as its body unless that is empty, and returns
/// the answer. `upstream` keeps the connection for later requests.
///
/// # Errors
/// [`Unanswered::Failed`].
pub async fn ask(
    upstream: &Rc<WorkerEndpoint>,
    connection: IdleConn,
    method: Method,
    path: &'static str,
    json: &'static str,
) -> Result<(StatusCode, Bytes), Unanswered> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static("etcd-proxy"));
    let mut body = ReplayBody::empty();
    if !json.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        body = ReplayBody::whole(Bytes::from_static(json.as_bytes()));
    }
    let head = RequestHead {
        method: &method,
        target: &PathAndQuery::from_static(path),
        host: &upstream.endpoint.host_header,
        headers: &headers,
        ours: ForwardingHeaders { forwarded_for: None, hop: None },
    };
    let sent = connection.send(&head, body, upstream.idle().clone());
    let response = sent.await.map_err(|send_error| Unanswered::Failed(send_error.error))?;
    let (status, mut body) = (response.status(), response.into_body());
    let mut answer = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(Unanswered::Failed)?;
        answer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if answer.len() > MAX_ANSWER {
            break;
        }
    }
    Ok((status, answer.into()))
}

/// Finds out whether `upstream`'s URL speaks HTTP, by asking for its version, and remembers the
/// finding. Sends nothing of a client's request. The connection is kept for the next request.
///
/// # Errors
/// [`Unanswered`] when no HTTP/1.1 answer came back. The URL then counts as one without HTTP if the
/// member behaved as etcd does where it speaks only gRPC: with TLS it closes the connection without
/// a reply, in plaintext it answers in HTTP/2.
pub async fn find_out(upstream: &Rc<WorkerEndpoint>) -> Result<(), Unanswered> {
    let protocols = &upstream.endpoint.protocols;
    let asked = timeout(PATIENCE, async {
        let connection = upstream.new_http1().await.map_err(Unanswered::Connect)?;
        ask(upstream, connection, Method::GET, "/version", "").await
    })
    .await;
    let unanswered = match asked {
        Ok(Ok(_)) => {
            protocols.confirm(Api::Http);
            return Ok(());
        }
        Ok(Err(unanswered)) => unanswered,
        Err(_) => Unanswered::Late,
    };
    match unanswered {
        Unanswered::Failed(Error::Http2) => deny(upstream, Denial::Answered),
        Unanswered::Failed(Error::Closed) if upstream.endpoint.is_tls() => {
            deny(upstream, Denial::Closed)
        }
        _ => {}
    }
    Err(unanswered)
}

/// Records that `upstream`'s URL speaks no HTTP.
pub fn deny(upstream: &WorkerEndpoint, denial: Denial) {
    let endpoint = &upstream.endpoint;
    if endpoint.protocols.deny(Api::Http, denial) {
        tracing::info!(
            member = %endpoint.member, endpoint = %endpoint.url,
            "speaks no HTTP here (listen-client-http-urls?), requests over HTTP go elsewhere"
        );
    }
}
