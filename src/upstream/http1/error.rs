//! Errors of HTTP/1.1 connections to members.

use std::io;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The member closed the connection before it answered.
    #[error("connection closed before an answer")]
    Closed,
    /// The member closed the connection before the end of its answer's body.
    #[error("connection closed within an answer")]
    Incomplete,
    /// The member sent something other than the head of a response.
    #[error("not an HTTP/1.1 answer: {0}")]
    Head(&'static str),
    /// The first bytes from the member are HTTP/2's SETTINGS: it speaks only gRPC, and has acted on
    /// nothing.
    #[error("it speaks HTTP/2 only")]
    Http2,
    /// The head of the member's answer is too large; holds the limit in bytes.
    #[error("head of the answer exceeds {0} bytes")]
    TooLarge(usize),
    /// The member framed the body of its answer in a way that cannot be trusted.
    #[error("not a well-framed answer: {0}")]
    Framing(&'static str),
    /// The client's request body failed, or its length was not the declared one; the member is not
    /// to blame.
    #[error("the client's request did not arrive whole")]
    ClientBody(#[source] Option<hyper::Error>),
}

impl Error {
    /// Returns whether the client is to blame, and not the member.
    pub fn is_clients(&self) -> bool {
        matches!(self, Self::ClientBody(_))
    }
}

/// Returns what is wrong with the answer, for httparse's error.
pub(super) fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "invalid header name",
        httparse::Error::HeaderValue => "invalid header value",
        httparse::Error::NewLine => "invalid line ending",
        httparse::Error::Status => "invalid status code",
        httparse::Error::Token => "invalid status line",
        httparse::Error::TooManyHeaders => "more than 128 headers",
        httparse::Error::Version => "unsupported HTTP version",
    }
}
