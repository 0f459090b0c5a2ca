//! The few gRPC calls that a v3 registry needs, on h2 directly: one connection, one call at a time, all of it bounded.
//!
//! The messages are etcd's, cut down to the fields that are read or written here; unknown fields are skipped.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::{HeaderMap, Request, header};
use prost::Message;

use super::error::Fault;
use super::link::Link;
use crate::config::WebUrl;

/// Largest message that is read; a hundred members need some 20 KiB.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// gRPC's code for a call that went well.
const OK: u32 = 0;

/// A connection on which calls can be made. Dropping it closes it.
pub(super) struct Channel {
    sender: SendRequest<Bytes>,
    authority: String,
    tls: bool,
    /// etcd's token of a user who has logged in.
    token: Option<String>,
    pings: Option<PingPong>,
    driving: tokio::task::JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Channel {
    /// Begins HTTP/2 on `link`, which leads to `url`.
    pub(super) async fn begin(link: Link, url: &WebUrl) -> Result<Self, Fault> {
        let (sender, mut connection) =
            h2::client::Builder::new().handshake(link).await.map_err(broken)?;
        let pings = connection.ping_pong();
        let driving = tokio::spawn(async move {
            let _ = connection.await;
        });
        let authority = crate::net::dial::Authority(&url.host, url.port).to_string();
        Ok(Self { sender, authority, tls: url.tls, token: None, pings, driving })
    }

    /// Shows this token with every call from now on.
    pub(super) fn authenticate(&mut self, token: String) {
        self.token = Some(token);
    }

    /// Calls `method` with one message, and reads one.
    pub(super) async fn call<A: Message + Default>(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> Result<A, Fault> {
        let mut answers = self.open(method, message, true).await?;
        let answer = answers.next::<A>().await?;
        answer.ok_or_else(|| Fault::Broken("its gRPC answer is empty".to_owned()))
    }

    /// Calls `method` with one message, and leaves the call open so that more and more answers can be read.
    pub(super) async fn stream(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> Result<Answers, Fault> {
        self.open(method, message, false).await
    }

    async fn open(
        &mut self,
        method: &str,
        message: &impl Message,
        ends: bool,
    ) -> Result<Answers, Fault> {
        let request = self.request(method)?;
        let mut sender = self.sender.clone().ready().await.map_err(broken)?;
        let (response, mut body) = sender.send_request(request, false).map_err(broken)?;
        body.send_data(framed(message), ends).map_err(broken)?;
        Ok(Answers { response: Some(response), body: None, unread: BytesMut::new(), _asking: body })
    }

    fn request(&self, method: &str) -> Result<Request<()>, Fault> {
        let scheme = if self.tls { "https" } else { "http" };
        let mut request = Request::post(format!("{scheme}://{}{method}", self.authority))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, concat!("etcd-proxy/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header("token", token);
        }
        request
            .body(())
            .map_err(|_| Fault::Broken("its host does not fit into a request".to_owned()))
    }

    /// Pings each `every`; returns when one stays unanswered for `limit`.
    pub(super) async fn lost(&mut self, every: Duration, limit: Duration) -> Fault {
        let Some(pings) = &mut self.pings else { return std::future::pending().await };
        loop {
            tokio::time::sleep(every).await;
            match tokio::time::timeout(limit, pings.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return broken(error),
                Err(_) => return Fault::NoAnswer(limit),
            }
        }
    }
}

/// The answers to one call.
pub(super) struct Answers {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    unread: BytesMut,
    /// Kept so that the call stays open.
    _asking: h2::SendStream<Bytes>,
}

impl Answers {
    /// Reads the next message; `None` when the call ended well.
    pub(super) async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, Fault> {
        if let Some(response) = self.response.take() {
            let (head, body) = response.await.map_err(broken)?.into_parts();
            if !head.status.is_success() {
                return Err(Fault::Status(head.status.as_u16()));
            }
            // A call that fails at once has its status in the head.
            status(&head.headers)?;
            self.body = Some(body);
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        loop {
            if let Some(message) = take(&mut self.unread)? {
                let decoded = A::decode(message);
                return decoded.map(Some).map_err(|_| junk());
            }
            match body.data().await {
                Some(data) => {
                    let data = data.map_err(broken)?;
                    let _ = body.flow_control().release_capacity(data.len());
                    self.unread.extend_from_slice(&data);
                }
                None => {
                    let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
                    return status(&trailers).map(|()| None);
                }
            }
        }
    }
}

/// Takes one whole message off `unread`.
fn take(unread: &mut BytesMut) -> Result<Option<Bytes>, Fault> {
    let Some((head, _)) = unread.split_first_chunk::<5>() else { return Ok(None) };
    let [compressed, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 {
        return Err(junk());
    }
    if length > MESSAGE_LIMIT {
        return Err(Fault::TooLarge);
    }
    if unread.len() < 5 + length {
        return Ok(None);
    }
    unread.advance(5);
    Ok(Some(unread.split_to(length).freeze()))
}

fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut framed = Vec::with_capacity(5 + body.len());
    framed.push(0);
    framed.extend_from_slice(&(body.len() as u32).to_be_bytes());
    framed.extend_from_slice(&body);
    framed.into()
}

/// Reads the status of a call, if it is there.
fn status(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(code) = headers.get("grpc-status") else { return Ok(()) };
    let code = code.to_str().ok().and_then(|code| code.parse().ok()).ok_or_else(junk)?;
    if code == OK {
        return Ok(());
    }
    let message = headers.get("grpc-message").and_then(|message| message.to_str().ok());
    Err(Fault::Rpc { code, message: super::printable(message.unwrap_or("no reason given")) })
}

fn junk() -> Fault {
    Fault::Broken("it does not answer as an etcd does in gRPC".to_owned())
}

fn broken(error: h2::Error) -> Fault {
    Fault::Broken(match error.reason() {
        Some(reason) => format!("its HTTP/2 failed: {}", reason.description()),
        None => "the connection broke before its answer".to_owned(),
    })
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

/// `etcdserverpb.WatchResponse`, of which only is read whether there is an event.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchResponse {
    #[prost(bool, tag = "4")]
    pub(super) canceled: bool,
    #[prost(bytes = "vec", repeated, tag = "11")]
    pub(super) events: Vec<Vec<u8>>,
}

/// `etcdserverpb.AuthenticateRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) password: String,
}

/// `etcdserverpb.AuthenticateResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    pub(super) token: String,
}
