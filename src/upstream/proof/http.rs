//! The proof over HTTP/1.1, for ports that speak no gRPC (`--listen-client-http-urls`).
//!
//! Three questions are asked in turn, until an answer names a cluster:
//!
//! - a serializable Range over the JSON gateway;
//! - v2's member list, which names the cluster in `X-Etcd-Cluster-ID`: only 3.5 and earlier have
//!   it, but without the gateway there is nothing else;
//! - the creation of a Watch over the gateway, which is answered where auth refuses the Range.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::{ProofError, is_passing};
use crate::message::headers::{HOP, PROOF_HOP};
use crate::net::http_client::{self, Reply};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::io::{MemberIo, MemberIoState};

/// Most bytes of an answer that are read; a first message has some 200.
const MAX_ANSWER: usize = 64 * 1024;

/// The questions, asked in this order, each on a connection of its own.
pub const QUESTIONS: [Question; 3] = [
    Question {
        method: Method::POST,
        path: "/v3/kv/range",
        body: r#"{"key":"AA==","limit":"1","serializable":true,"count_only":true}"#,
    },
    Question { method: Method::GET, path: "/v2/members", body: "" },
    Question {
        method: Method::POST,
        path: "/v3/watch",
        body: r#"{"create_request":{"key":"AA=="}}"#,
    },
];

/// One request whose answer may name a cluster.
pub struct Question {
    method: Method,
    path: &'static str,
    body: &'static str,
}

/// A connection on which a question was asked.
pub struct Asked {
    /// The connection's state.
    pub io_state: Arc<MemberIoState>,
    /// The cluster that the answer named; `None` if it named none.
    pub cluster: Option<u64>,
    /// The answer's HTTP status; 0 before there is one.
    pub status: u16,
    /// Held because hyper closes a connection whose answer is dropped before its end.
    _reply: Reply,
}

impl Asked {
    /// Returns what is wrong with an answer that names no cluster.
    pub fn complaint(&self) -> ProofError {
        let text = format!("its answer has HTTP status {} and no cluster ID", self.status);
        if is_passing(self.status) { ProofError::NotNow(text) } else { ProofError::Nameless(text) }
    }
}

/// Asks one question over a new connection.
///
/// # Errors
/// [`ProofError::Broken`] with hyper's error, when the other side does not answer in HTTP/1.1.
pub async fn ask(
    io: MemberIo,
    question: &Question,
    endpoint: &Endpoint,
) -> Result<Asked, ProofError> {
    let io_state = io.state();
    let mut request = Request::new(Full::new(Bytes::from_static(question.body.as_bytes())));
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = http::Uri::from_static(question.path);
    request.headers_mut().insert(HOST, endpoint.host_header.clone());
    request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    request.headers_mut().insert(HOP, PROOF_HOP);
    let reply = http_client::send(io, request).await;
    let mut reply = reply.map_err(|no_reply| ProofError::Broken(no_reply.to_string()))?;
    let cluster = match in_header(&reply.head.headers) {
        Some(id) => Some(id),
        None => in_body(&mut reply.body).await,
    };
    let status = reply.head.status.as_u16();
    Ok(Asked { io_state, cluster, status, _reply: reply })
}

fn in_header(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get("x-etcd-cluster-id")?.to_str().ok()?;
    u64::from_str_radix(value, 16).ok()
}

async fn in_body(body: &mut Incoming) -> Option<u64> {
    let mut received = BytesMut::new();
    while received.len() <= MAX_ANSWER {
        let frame = body.frame().await?.ok()?;
        received.extend_from_slice(&frame.into_data().unwrap_or_default());
        if let Some(answer) = first_value(&received) {
            return cluster_id(&answer);
        }
    }
    None
}

fn first_value(received: &[u8]) -> Option<serde_json::Value> {
    serde_json::Deserializer::from_slice(received).into_iter().next()?.ok()
}

/// Returns the cluster that an answer of the gateway names. The gateway writes 64-bit numbers as
/// strings.
pub fn cluster_id(answer: &serde_json::Value) -> Option<u64> {
    let header = answer.get("header").or_else(|| answer.get("result")?.get("header"))?;
    header.get("cluster_id")?.as_str()?.parse().ok().filter(|id| *id != 0)
}
