//! The proxy's own gRPC calls to a member: the probe, and the proof of its cluster.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use prost::Message;

use super::endpoint::Endpoint;
use super::http2::{Connection, Part, ResponseBody};
use crate::message::grpc;
use crate::message::headers::{HOP, PROOF_HOP};
use crate::message::replay_body::ReplayBody;

/// Largest first message that is read, in bytes; the expected answers have some 50.
const MAX_MESSAGE: usize = 64 * 1024;
/// Length of the prefix of a gRPC message: one byte for compression, four for the message's length.
const PREFIX: usize = 5;

/// A member's answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The first message, without its prefix; `None` when there was none, or it was compressed or
    /// too large.
    pub message: Option<Bytes>,
    /// The headers or trailers that carry `grpc-status`; empty when the call was left before they
    /// came, or there were none.
    pub end: HeaderMap,
}

/// How much of an answer a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The first message, or the end of an answer without one; the call is cancelled then. Used
    /// only for proofs, and the request is marked as one.
    Message,
    /// The end.
    End,
}

impl Answer {
    /// Returns the cluster ID in the message's `ResponseHeader`, which is field 1 of all of etcd's
    /// answers; `None` without one.
    pub fn cluster_id(&self) -> Option<u64> {
        let answer = Headed::decode(self.message.clone()?).ok()?;
        answer.header.map(|header| header.cluster_id).filter(|id| *id != 0)
    }

    /// Returns one of the headers that end the call, as text.
    pub fn end_text(&self, name: &str) -> Option<&str> {
        self.end.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the reason that an unusable answer gives: its error message, or else its status.
    pub fn complaint(&self) -> String {
        match (self.end_text("grpc-message"), self.end_text("grpc-status")) {
            (Some(message), _) if !message.is_empty() => message.to_owned(),
            (_, Some(code)) => format!("grpc status {code}"),
            _ if self.status != StatusCode::OK => format!("HTTP status {}", self.status.as_u16()),
            _ => "not an etcd member: it answers without grpc-status".to_owned(),
        }
    }
}

/// The first field of all of etcd's answers.
#[derive(prost::Message)]
struct Headed {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

#[derive(prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    cluster_id: u64,
}

/// Makes one call with one message; `message` includes its gRPC prefix.
///
/// # Errors
/// When the stream or its connection ends before the answer does.
pub async fn call(
    connection: &Rc<Connection>,
    endpoint: &Endpoint,
    path: &'static str,
    message: &'static [u8],
    until: Until,
) -> Result<Answer, h2::Error> {
    let mut request = grpc::request(endpoint.scheme.clone(), endpoint.authority.clone(), path);
    if until == Until::Message {
        request.headers_mut().insert(HOP, PROOF_HOP);
    }
    let response = connection.send(request, ReplayBody::whole(Bytes::from_static(message))).await?;
    let (head, mut body) = response.into_parts();
    if head.headers.contains_key("grpc-status") {
        return Ok(Answer { status: head.status, message: None, end: head.headers });
    }
    let mut answer = Answer { status: head.status, ..Answer::default() };
    read(&mut body, &mut answer, until).await?;
    Ok(answer)
}

async fn read(body: &mut ResponseBody, answer: &mut Answer, until: Until) -> Result<(), h2::Error> {
    let mut received = BytesMut::new();
    loop {
        match poll_fn(|cx| body.poll_part(cx)).await? {
            Part::Data(data) if answer.message.is_none() && received.len() <= MAX_MESSAGE => {
                received.extend_from_slice(&data);
                answer.message = first_message(&received);
                if answer.message.is_some() && until == Until::Message {
                    return Ok(());
                }
            }
            Part::Data(_) => {}
            Part::Trailers(trailers) => {
                answer.end = trailers;
                return Ok(());
            }
            Part::End => return Ok(()),
        }
    }
}

/// Returns the first message once it is complete. `None` for a compressed one, which was not asked
/// for.
fn first_message(mut received: &[u8]) -> Option<Bytes> {
    if received.len() < PREFIX || received.get_u8() != 0 {
        return None;
    }
    let length = received.get_u32() as usize;
    received.get(..length).map(Bytes::copy_from_slice)
}
