//! Rewrites member lists to name the proxy (`rewrite-members`), so that clients that sync their
//! endpoints stay behind it.
//!
//! Only four answers are rewritten: `GET /v2/members`, `/v2/machines`, the gateway's
//! `cluster/member/list` and gRPC's `MemberList`. The members stay in the list, with their names,
//! IDs and peer URLs, so that what people read there is still true; only their client URLs are
//! replaced by this proxy's. etcd's grpc-proxy answers with one made-up member instead, which hides
//! the cluster from its operators. A member without client URLs has not started, and keeps its
//! empty list.
//!
//! Such an answer is held whole, up to [`MOST`]. One that is longer, compressed or not understood
//! is replaced by an error: with the original, the client would bypass the proxy. Members are asked
//! not to compress. A list over a WebSocket, which no known client asks for, passes unchanged.

mod json;
mod wire;

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;

use super::advertised::Advertised;
use super::classify::{Protocol, Route};
use super::reply_body::ReplyBody;
use crate::message::grpc::{self, FirstMessage, Progress};
use crate::message::reason::Reason;
use crate::message::reply::{self, Code, Dialect};
use crate::message::rpc::Rpc;

/// Longest list that is held, in bytes: some thousands of members, where etcd recommends seven.
pub const MOST: usize = 1 << 20;

/// The member list that a request asks for, by its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `/v2/members`, or the gateway's list: an object whose `members` have `clientURLs`.
    Json(Dialect),
    /// `/v2/machines`: client URLs separated by commas.
    Machines,
    /// HEAD of either v2 list; the length of the rewritten body is not known, so `Content-Length`
    /// is dropped.
    Head,
    /// gRPC's MemberList.
    Grpc,
}

/// The reason why a list cannot be rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// The member's connection was lost before the end of the list.
    Broken,
    /// It is longer than [`MOST`].
    TooLarge,
    /// It is compressed, or not a member list.
    Strange,
}

impl Listing {
    /// Returns the list that the request asks for, if any.
    pub fn wanted<B>(route: &Route, request: &Request<B>) -> Option<Self> {
        match route.protocol {
            Protocol::Grpc(Rpc::MemberList) => Some(Self::Grpc),
            Protocol::Json(Rpc::MemberList) => Some(Self::Json(Dialect::Gateway)),
            Protocol::Http => Self::of_path(request.method(), request.uri().path()),
            Protocol::Grpc(_) | Protocol::Json(_) => None,
        }
    }

    fn of_path(method: &Method, path: &str) -> Option<Self> {
        let listing = match path {
            "/v2/members" | "/v2/members/" => Self::Json(Dialect::Http),
            "/v2/machines" => Self::Machines,
            _ => return None,
        };
        match *method {
            Method::GET => Some(listing),
            Method::HEAD => Some(Self::Head),
            _ => None,
        }
    }

    /// Asks for an uncompressed answer.
    pub fn ask_plainly(headers: &mut HeaderMap) {
        headers.remove(ACCEPT_ENCODING);
        headers.remove("grpc-accept-encoding");
    }

    /// Replaces the client URLs in a member's answer by the proxy's. Error answers pass unchanged;
    /// an answer that should be a list and cannot be rewritten is replaced by an error.
    pub async fn rewrite(
        self,
        response: Response<ReplyBody>,
        advertised: &Advertised,
    ) -> Response<ReplyBody> {
        if response.status() != StatusCode::OK || response.headers().contains_key("grpc-status") {
            return response;
        }
        let (mut head, body) = response.into_parts();
        if self == Self::Head {
            head.headers.remove(CONTENT_LENGTH);
            return Response::from_parts(head, body);
        }
        let encoded =
            head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
        let rewritten = match collect(body).await {
            Ok(_) if encoded => Err(Unfit::Strange),
            Ok(whole) => self.rewrite_whole(whole, advertised),
            Err(unfit) => Err(unfit),
        };
        match rewritten {
            Ok((bytes, trailers)) => {
                if self != Self::Grpc || head.headers.contains_key(CONTENT_LENGTH) {
                    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
                }
                Response::from_parts(head, ReplyBody::with_trailers(bytes, trailers))
            }
            Err(unfit) => self.refusal(unfit).map(|bytes| ReplyBody::with_trailers(bytes, None)),
        }
    }

    fn rewrite_whole(self, whole: Whole, advertised: &Advertised) -> Result<Whole, Unfit> {
        let (bytes, trailers) = whole;
        let rewritten = match self {
            Self::Head => return Ok((bytes, trailers)),
            Self::Machines => Some(advertised.urls.join(", ").into_bytes()),
            Self::Json(_) => json::rewrite(&bytes, &advertised.json),
            Self::Grpc if trailers.as_ref().is_some_and(has_failed) => {
                return Ok((bytes, trailers));
            }
            Self::Grpc => rewrite_frame(&bytes, advertised),
        };
        Ok((rewritten.ok_or(Unfit::Strange)?.into(), trailers))
    }

    fn refusal(self, unfit: Unfit) -> Response<Bytes> {
        let dialect = match self {
            Self::Grpc => Dialect::Grpc,
            Self::Json(dialect) => dialect,
            Self::Machines | Self::Head => Dialect::Http,
        };
        let (code, message) = match unfit {
            Unfit::Broken => (
                Code::Unavailable,
                "etcd-proxy: the connection to the member was lost in the middle of its member list",
            ),
            Unfit::TooLarge => (
                Code::ResourceExhausted,
                "etcd-proxy: the member list is longer than 1 MiB, and rewrite-members is set",
            ),
            Unfit::Strange => (
                Code::FailedPrecondition,
                "etcd-proxy: the member list cannot be read, and rewrite-members is set",
            ),
        };
        if unfit != Unfit::Broken {
            tracing::warn!("a member's list was not passed on: {message}");
        }
        reply::refusal(dialect, StatusCode::BAD_GATEWAY, code, Reason::MemberList, message)
    }
}

/// A whole body and its trailers.
type Whole = (Bytes, Option<HeaderMap>);

fn has_failed(trailers: &HeaderMap) -> bool {
    grpc::status(trailers) != Some(0)
}

async fn collect(mut body: ReplyBody) -> Result<Whole, Unfit> {
    let mut whole = Vec::new();
    let mut trailers = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map_err(|_| Unfit::Broken)?.into_data() {
            Ok(chunk) if whole.len() + chunk.len() > MOST => return Err(Unfit::TooLarge),
            Ok(chunk) => whole.extend_from_slice(&chunk),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((whole.into(), trailers))
}

/// Rewrites the one message of a unary answer, with its prefix.
fn rewrite_frame(bytes: &[u8], advertised: &Advertised) -> Option<Vec<u8>> {
    let mut first = FirstMessage::new(MOST);
    if first.push(bytes) != Progress::Complete {
        return None;
    }
    let message = wire::rewrite(first.message()?, &advertised.urls)?;
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).ok()?.to_be_bytes());
    frame.extend_from_slice(&message);
    Some(frame)
}
