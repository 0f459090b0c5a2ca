//! The request that is sent to members: prepared once, sent as often as the retry rules allow.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue};
use http::uri::{Parts, PathAndQuery, Uri};
use http::{Method, Request, Version};
use hyper::body::Incoming;

use super::client::Client;
use crate::message::discard::discard;
use crate::message::headers::{self, ReplayHeaders};
use crate::message::owed::Debt;
use crate::message::replay_body::{Replay, ReplayBody};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::http1::RequestHead;

/// A request, without the parts that depend on the member.
pub struct Outgoing {
    method: Method,
    target: PathAndQuery,
    /// `None` once an HTTP/2 attempt has taken them.
    headers: Option<HeaderMap>,
    /// Whether a copy of the headers is kept when they are sent.
    replayable: bool,
    /// That copy, from which the headers of the next attempt are made.
    replay_headers: Option<ReplayHeaders>,
    body: Option<ReplayBody>,
    replay: Replay,
}

impl Outgoing {
    /// Takes the parts of a client's request that are forwarded. With `replayable`, it can be sent
    /// again after it was sent. `debt` records when the client's body is waited for.
    pub fn new(request: Request<Incoming>, replayable: bool, debt: Option<Debt>) -> Self {
        let (mut head, incoming) = request.into_parts();
        headers::remove_hop_by_hop(&mut head.headers);
        if head.version == Version::HTTP_2 {
            join_cookies(&mut head.headers);
        }
        let target =
            head.uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let body = ReplayBody::new(incoming, debt);
        Self {
            method: head.method,
            target,
            headers: Some(head.headers),
            replayable,
            replay_headers: None,
            replay: body.replay(),
            body: Some(body),
        }
    }

    /// Replaces the client's body by the inspected one.
    pub fn set_body(&mut self, bytes: Bytes) {
        if let Some(headers) = &mut self.headers
            && headers.contains_key(CONTENT_LENGTH)
        {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        let body = ReplayBody::whole(bytes);
        self.replay = body.replay();
        self.body = Some(body);
    }

    /// Takes the client's body out, for inspection.
    pub fn take_body(&mut self) -> ReplayBody {
        self.body.take().unwrap_or_else(ReplayBody::empty)
    }

    /// Returns whether the request can be sent, for the first time or again.
    pub fn is_ready(&self) -> bool {
        (self.headers.is_some() || self.replay_headers.is_some())
            && (self.body.is_some() || self.replay.again().is_some())
    }

    /// Reads what the client still sends, for a limited time, before we answer it ourselves.
    pub async fn discard(&mut self) {
        self.body = None;
        // A client that waits for 100 (Continue) has not sent its body, and need not.
        let expects = self.headers.as_ref().is_some_and(|headers| headers.contains_key(EXPECT));
        if !expects && let Some(mut unread) = self.replay.take_unread() {
            // Boxed, so that the future of every request does not carry what few need.
            Box::pin(async move { discard(&mut unread).await }).await;
        }
    }

    /// Rules out further attempts and drops what is kept for them, since the answer is passed on.
    pub fn commit(&mut self) {
        self.replay.release();
        self.replay_headers = None;
    }

    /// Returns the HTTP/1.1 head for `endpoint` and the body; `None` if the request cannot be sent
    /// again.
    pub fn for_http1<'a>(
        &'a mut self,
        client: &'a Client,
        endpoint: &'a Endpoint,
    ) -> Option<(RequestHead<'a>, ReplayBody)> {
        let body = self.take_body_again()?;
        let headers = self.headers.as_ref()?;
        let (method, target, host) = (&self.method, &self.target, &endpoint.host_header);
        Some((
            RequestHead { method, target, host, headers, ours: client.forwarding_headers() },
            body,
        ))
    }

    /// Returns the HTTP/2 request for `endpoint` and its body; `None` if it cannot be sent again.
    pub fn for_http2(
        &mut self,
        client: &Client,
        endpoint: &Endpoint,
    ) -> Option<(Request<()>, ReplayBody)> {
        let (mut headers, body) = self.take()?;
        headers.remove(HOST);
        headers.remove(EXPECT);
        client.forwarding_headers().append_to(&mut headers);
        let mut uri = Parts::default();
        uri.scheme = Some(endpoint.scheme.clone());
        uri.authority = Some(endpoint.authority.clone());
        uri.path_and_query = Some(self.target.clone());
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        Some((request, body))
    }

    fn take_body_again(&mut self) -> Option<ReplayBody> {
        self.body.take().or_else(|| self.replay.again())
    }

    fn take(&mut self) -> Option<(HeaderMap, ReplayBody)> {
        let body = self.take_body_again()?;
        let headers = match self.headers.take() {
            Some(headers) => {
                if self.replayable && self.replay_headers.is_none() {
                    self.replay_headers = Some(ReplayHeaders::of(&headers));
                }
                headers
            }
            None => self.replay_headers.as_ref()?.to_map(),
        };
        Some((headers, body))
    }
}

/// Joins cookies: HTTP/2 may split one into several fields, HTTP/1.1 wants it whole (RFC 9113
/// section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(COOKIE).iter();
    let (Some(first), Some(_)) = (pieces.next(), pieces.next()) else { return };
    let mut whole = first.as_bytes().to_vec();
    for piece in headers.get_all(COOKIE).iter().skip(1) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(piece.as_bytes());
    }
    if let Ok(whole) = HeaderValue::from_bytes(&whole) {
        headers.insert(COOKIE, whole);
    }
}
