//! The proxy's own answers, in the form that the clients of each protocol understand.
//!
//! v2 and plain HTTP get the JSON errors of etcd's old proxy (`proxy/httpproxy/reverse.go` at
//! v3.4.23), `/v3` JSON gets the gateway's error object, and gRPC a trailers-only response (HTTP
//! 200 with `grpc-status` in the header block).

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::reason::Reason;

/// `grpc-status`.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// gRPC status codes that the proxy itself returns (grpc/grpc `doc/statuscodes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The client sent a request that cannot be forwarded.
    InvalidArgument = 3,
    /// The request needs more than the proxy is willing to hold.
    ResourceExhausted = 8,
    /// The request came back to a proxy that it had passed before.
    FailedPrecondition = 9,
    /// The proxy does not forward this method.
    Unimplemented = 12,
    /// No member could answer.
    Unavailable = 14,
}

/// The form of error that a client understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// v2 and all other plain HTTP.
    Http,
    /// The JSON gateway below `/v3`, `/v3beta` and `/v3alpha`.
    Gateway,
    /// gRPC.
    Grpc,
}

/// Builds the error answer with `message` in the given dialect, and `reason` in a header.
///
/// `message` must be ASCII without control characters, so that it needs no escaping in any of the
/// forms.
pub fn refusal(
    dialect: Dialect,
    status: StatusCode,
    code: Code,
    reason: Reason,
    message: &str,
) -> Response<Bytes> {
    let mut response = match dialect {
        Dialect::Http => json(status, format!("{{\"message\":\"{message}\"}}")),
        Dialect::Gateway => {
            let code = code as u8;
            json(
                status,
                format!("{{\"error\":\"{message}\",\"code\":{code},\"message\":\"{message}\"}}"),
            )
        }
        Dialect::Grpc => trailers_only(code, message),
    };
    reason.set(response.headers_mut());
    response
}

/// Builds an answer with a status and no body, like the old proxy's 501.
pub fn bare(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// Builds a JSON answer.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    typed(status, HeaderValue::from_static("application/json"), body)
}

/// Builds a plain text answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    typed(status, HeaderValue::from_static("text/plain; charset=utf-8"), body)
}

/// Builds an answer of the given content type.
pub fn typed(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// Builds a 405 with the allowed methods in `Allow`.
pub fn method_not_allowed(allow: &'static str) -> Response<Bytes> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn trailers_only(code: Code, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::from_str(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}
