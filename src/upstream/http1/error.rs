//! What can go wrong on an HTTP/1.1 connection to a member.

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
    /// The member closed the connection within the body of its answer.
    #[error("connection closed within an answer")]
    Incomplete,
    /// What the member sent is no head of a response.
    #[error("not an HTTP/1.1 answer: {0}")]
    Head(&'static str),
    /// The first that the member has said is HTTP/2's SETTINGS: it speaks gRPC only, and has acted
    /// on nothing.
    #[error("it speaks HTTP/2 only")]
    Http2,
    /// The member's head has no end.
    #[error("head of the answer exceeds {0} bytes")]
    TooLarge(usize),
    /// The member framed the body of its answer in a way that cannot be trusted.
    #[error("not a well-framed answer: {0}")]
    Framing(&'static str),
    /// The client's request body ended too early; the member is not to blame.
    #[error("the client's request did not arrive whole")]
    ClientBody(#[source] Option<hyper::Error>),
}

impl Error {
    /// Whether the client is to blame, and not the member.
    pub fn is_clients(&self) -> bool {
        matches!(self, Self::ClientBody(_))
    }
}

/// httparse's reasons, in words that name what is wrong with the answer.
pub(super) fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a header's name is not one",
        httparse::Error::HeaderValue => "a header's value is not one",
        httparse::Error::NewLine => "a line does not end as it must",
        httparse::Error::Status => "no such status",
        httparse::Error::Token => "the first line is not one",
        httparse::Error::TooManyHeaders => "more than 128 headers",
        httparse::Error::Version => "no such version",
    }
}
