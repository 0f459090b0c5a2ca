//! How the body of a response ends (RFC 9112 section 6.3).

use http::StatusCode;

use super::chunked::Chunked;
use super::error::Error;

/// How the body of a response is framed, and what is still to come of it.
#[derive(Debug)]
pub enum ResponseFraming {
    /// As many bytes more; 0 is the end.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Everything until the member closes.
    UntilClose,
}

/// What the headers of a response say of its body.
#[derive(Debug, Default)]
pub struct BodyHeaders {
    length: Option<u64>,
    chunked: bool,
}

impl BodyHeaders {
    /// Notes a `Content-Length`.
    ///
    /// # Errors
    /// When it is no number, or not the one that was there before: somebody between would read
    /// another body.
    pub fn length(&mut self, value: &[u8]) -> Result<(), Error> {
        let number = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
        let length = number
            .and_then(|text| text.parse().ok())
            .ok_or(Error::Framing("a Content-Length that is no number"))?;
        if self.length.is_some_and(|other| other != length) {
            return Err(Error::Framing("two different Content-Lengths"));
        }
        self.length = Some(length);
        Ok(())
    }

    /// Notes a `Transfer-Encoding`.
    ///
    /// # Errors
    /// For any but one "chunked": we have asked for no other.
    pub fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Error> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Error::Framing("a Transfer-Encoding other than one \"chunked\""));
        }
        self.chunked = true;
        Ok(())
    }

    /// Whether a length counts for nothing, because there are chunks.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Decides, for an answer of this status, `to_head` if to a request by HEAD.
    pub fn decide(&self, status: StatusCode, to_head: bool) -> ResponseFraming {
        if to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            ResponseFraming::Length(0)
        } else if self.chunked {
            ResponseFraming::Chunked(Chunked::default())
        } else {
            self.length.map_or(ResponseFraming::UntilClose, ResponseFraming::Length)
        }
    }
}
