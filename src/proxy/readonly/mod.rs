//! Readonly: decides which requests may pass, before anything is sent.
//!
//! The rules are an allowlist with default deny. They match raw bytes; anything that would first
//! have to be decoded or cleaned is refused, because a member does both before it routes. Two calls
//! are reads or writes depending on their message: Txn and Alarm. Their whole message is read
//! first, judged by [`InspectedRpc`], and only what was judged is sent on.
//!
//! Readonly also relies on properties of other modules: `Connection` and `Upgrade` go to a member
//! only for a route with `websocket`; only gRPC routes travel over HTTP/2; after a reply of our own
//! nothing of the request is left unread on the connection.

mod json;
mod pages;
pub(in crate::proxy) mod wire;

use http::header::{HeaderMap, UPGRADE};
use http::{Method, Uri};

use super::classify::{Protocol, Route, has_token};
use crate::message::rpc::{Effect, Rpc};

pub use json::Refusal;

/// The largest message that is inspected, in bytes. A member takes Txn requests up to its
/// `max-request-bytes` (1.5 MiB by default) plus 512 KiB; a larger message than this is refused in
/// readonly.
pub const INSPECTION_CAP: usize = 4 << 20;

/// The decision of readonly on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A read: forward it.
    Pass,
    /// A write, or not known to be a read: answer it ourselves.
    Refuse,
    /// Collect the one gRPC message and ask [`InspectedRpc::grpc_is_readonly`]; forward exactly
    /// that message.
    InspectGrpc(InspectedRpc),
    /// Collect the JSON body and ask [`InspectedRpc::json`]; forward the body that it returns.
    InspectJson(InspectedRpc),
}

/// A call whose message decides whether it is a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InspectedRpc {
    /// Txn: a read when it holds only ranges, at every depth.
    Txn,
    /// Alarm: a read when the action is GET.
    Alarm,
}

impl InspectedRpc {
    /// Returns whether an uncompressed protobuf message is a read. Anything malformed, unknown or
    /// ambiguous is not.
    pub fn grpc_is_readonly(self, message: &[u8]) -> bool {
        match self {
            Self::Txn => wire::txn_is_readonly(message),
            Self::Alarm => wire::alarm_is_readonly(message),
        }
    }

    /// Returns the body to forward in place of a JSON body that is a read.
    ///
    /// # Errors
    /// [`Refusal`] says why it is not a read.
    pub fn json(self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Txn => json::txn(body),
            Self::Alarm => json::alarm(body),
        }
    }
}

/// Decides whether a request may pass in readonly. `route` is the result of
/// [`super::classify::classify`] for the same request.
pub fn verdict(route: &Route, method: &Method, uri: &Uri, headers: &HeaderMap) -> Verdict {
    match route.protocol {
        Protocol::Grpc(_) | Protocol::Json(_) if uri.query().is_some() => Verdict::Refuse,
        Protocol::Grpc(rpc) => by_effect(rpc, Verdict::InspectGrpc),
        Protocol::Json(rpc) => gateway(route, rpc, headers),
        Protocol::Http => page(method, uri.path(), headers),
    }
}

fn by_effect(rpc: Rpc, inspect: fn(InspectedRpc) -> Verdict) -> Verdict {
    match rpc.effect() {
        Effect::Read => Verdict::Pass,
        Effect::Write => Verdict::Refuse,
        Effect::Txn => inspect(InspectedRpc::Txn),
        Effect::Alarm => inspect(InspectedRpc::Alarm),
    }
}

/// Judges a call of the gateway. The messages of a WebSocket are not seen here, so it passes only
/// where every message is a read. Method overrides are refused outright: the gateway obeys them for
/// some content types.
fn gateway(route: &Route, rpc: Rpc, headers: &HeaderMap) -> Verdict {
    if headers.contains_key("x-http-method-override") {
        return Verdict::Refuse;
    }
    match by_effect(rpc, Verdict::InspectJson) {
        Verdict::InspectJson(_) if route.websocket => Verdict::Refuse,
        verdict => verdict,
    }
}

/// Judges a v2 request or a plain page. A member turns a WebSocket handshake into a POST, so a GET
/// that asks for one is no read.
fn page(method: &Method, path: &str, headers: &HeaderMap) -> Verdict {
    let reads = method == Method::GET || method == Method::HEAD;
    if reads && pages::is_read(path) && !has_token(headers, &UPGRADE, "websocket") {
        Verdict::Pass
    } else {
        Verdict::Refuse
    }
}

#[cfg(test)]
mod tests;
