//! Writes the head of a request, and decides how its body is framed (RFC 9112 sections 3 and 6).

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderName, Method};
use http_body::Body;

use crate::message::headers::{ForwardingHeaders, HOP, X_FORWARDED_FOR};
use crate::message::replay_body::ReplayBody;

/// Initial capacity for a head, in bytes; those of etcd's clients are smaller.
const USUAL_HEAD: usize = 512;

/// The head of a request, borrowed while it is written.
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a PathAndQuery,
    /// `Host`: the member's own name, not the client's.
    pub host: &'a HeaderValue,
    /// The client's headers, without hop-by-hop headers. `Host` and `Expect` among them are not
    /// sent: the client was asked for the body by the time it is passed on.
    pub headers: &'a HeaderMap,
    /// The headers that we add to them.
    pub ours: ForwardingHeaders<'a>,
}

/// How the body of a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFraming {
    /// No body.
    Empty,
    /// This many bytes, as `Content-Length` says.
    Length(u64),
    /// In chunks, since the length is not known.
    Chunked,
}

impl RequestHead<'_> {
    /// Writes the head into a new buffer. Returns that, and how the body must be framed.
    pub fn write(&self, body: &ReplayBody) -> (Vec<u8>, RequestFraming) {
        let mut out = Vec::with_capacity(USUAL_HEAD);
        for part in [self.method.as_str(), " ", self.target.as_str(), " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        field(&mut out, &HOST, self.host);
        let mut forwarded_for = self.ours.forwarded_for;
        for (name, value) in self.headers {
            if name == X_FORWARDED_FOR && self.ours.forwarded_for.is_some() {
                if let Some(address) = forwarded_for.take() {
                    self.write_forwarded_for(address, &mut out);
                }
            } else if name != HOST && name != EXPECT {
                field(&mut out, name, value);
            }
        }
        if let Some(address) = forwarded_for {
            field(&mut out, &X_FORWARDED_FOR, address);
        }
        if let Some(hop) = self.ours.hop {
            field(&mut out, &HOP, hop);
        }
        let framing = self.frame(body, &mut out);
        out.extend_from_slice(b"\r\n");
        (out, framing)
    }

    /// Writes the addresses of the earlier hops and then the client's, all in one line.
    fn write_forwarded_for(&self, address: &HeaderValue, out: &mut Vec<u8>) {
        out.extend_from_slice(b"x-forwarded-for: ");
        for earlier in self.headers.get_all(X_FORWARDED_FOR) {
            out.extend_from_slice(earlier.as_bytes());
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(address.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// Decides on the framing, and writes the header for it unless the client sent one.
    fn frame(&self, body: &ReplayBody, out: &mut Vec<u8>) -> RequestFraming {
        let declared = self.headers.get(CONTENT_LENGTH);
        if body.is_end_stream() {
            // RFC 9110 section 8.6: methods that usually have a body must say when there is none.
            if declared.is_none() && matches!(*self.method, Method::POST | Method::PUT) {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
            return RequestFraming::Empty;
        }
        if let Some(length) = declared.and_then(|length| length.to_str().ok()?.parse().ok()) {
            return RequestFraming::Length(length);
        }
        if let Some(length) = body.size_hint().exact() {
            field(out, &CONTENT_LENGTH, &HeaderValue::from(length));
            return RequestFraming::Length(length);
        }
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        RequestFraming::Chunked
    }
}

/// Writes one header or trailer.
pub(super) fn field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
