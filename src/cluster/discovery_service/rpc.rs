//! The messages of etcd's v3 API that a registry needs, with only the fields that are read or
//! written here, and the reader of a watch's answers, since [`grpc`](crate::cluster::grpc) reads
//! only unary ones.

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::ResponseFuture;
use prost::Message;

use super::error::Fault;
use crate::cluster::grpc::{CallError, status};

/// Largest message that is read, in bytes; events of a registry have some hundred.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// The answers to a watch.
pub(super) struct Answers {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    unread: BytesMut,
    /// Held so that the call stays open.
    _asking: h2::SendStream<Bytes>,
}

impl Answers {
    /// Reads the answers of a call that `Channel::open` has opened.
    pub(super) fn new((response, asking): (ResponseFuture, h2::SendStream<Bytes>)) -> Self {
        let unread = BytesMut::new();
        Self { response: Some(response), body: None, unread, _asking: asking }
    }

    /// Reads the next message; `None` when the call ended with status OK.
    pub(super) async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, Fault> {
        if let Some(response) = self.response.take() {
            let (head, body) = response.await.map_err(CallError::from)?.into_parts();
            // A call that fails at once has its status in the head.
            if head.headers.contains_key("grpc-status") || !head.status.is_success() {
                status(&head.headers)?;
            }
            self.body = Some(body);
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        loop {
            if let Some(message) = take(&mut self.unread)? {
                let decoded = A::decode(message);
                return decoded.map(Some).map_err(|error| strange(&error.to_string()));
            }
            match body.data().await {
                Some(data) => {
                    let data = data.map_err(CallError::from)?;
                    let _ = body.flow_control().release_capacity(data.len());
                    self.unread.extend_from_slice(&data);
                }
                None => {
                    let trailers = body.trailers().await.map_err(CallError::from)?;
                    status(&trailers.unwrap_or_default())?;
                    return Ok(None);
                }
            }
        }
    }
}

/// Takes the first message out of `unread`; `None` until it is whole.
fn take(unread: &mut BytesMut) -> Result<Option<Bytes>, Fault> {
    let Some((head, _)) = unread.split_first_chunk::<5>() else { return Ok(None) };
    let [compressed, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 || length > MESSAGE_LIMIT {
        return Err(strange("a compressed or very large message"));
    }
    if unread.len() < 5 + length {
        return Ok(None);
    }
    unread.advance(5);
    Ok(Some(unread.split_to(length).freeze()))
}

fn strange(what: &str) -> Fault {
    CallError::Strange(what.to_owned()).into()
}

/// `etcdserverpb.RangeRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
}

/// `etcdserverpb.RangeResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
}

/// `etcdserverpb.ResponseHeader`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResponseHeader {
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(super) create_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
}

/// `etcdserverpb.WatchRequest` that creates a watch.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) create_request: Option<WatchCreateRequest>,
}

/// `etcdserverpb.WatchCreateRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) start_revision: i64,
}

/// `etcdserverpb.WatchResponse`. Events are not decoded: only whether there is one matters.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchResponse {
    #[prost(bool, tag = "4")]
    pub(super) canceled: bool,
    #[prost(bytes = "vec", repeated, tag = "11")]
    pub(super) events: Vec<Vec<u8>>,
}
