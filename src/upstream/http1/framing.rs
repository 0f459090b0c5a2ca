//! Decides how the body of a response ends (RFC 9112 section 6.3).

use http::StatusCode;

use super::chunked::Chunked;
use super::error::Error;

/// How the body of a response is framed, and how much of it is still to come.
#[derive(Debug)]
pub enum ResponseFraming {
    /// This many bytes more; 0 is the end.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Everything until the member closes the connection.
    UntilClose,
}

/// What the headers of a response say about its body.
#[derive(Debug, Default)]
pub struct BodyHeaders {
    length: Option<u64>,
    chunked: bool,
}

impl BodyHeaders {
    /// Records a `Content-Length`.
    ///
    /// # Errors
    /// When it is not a number, or differs from an earlier one: an intermediary might read a
    /// different body.
    pub fn length(&mut self, value: &[u8]) -> Result<(), Error> {
        let number = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
        let length = number
            .and_then(|text| text.parse().ok())
            .ok_or(Error::Framing("invalid Content-Length"))?;
        if self.length.is_some_and(|other| other != length) {
            return Err(Error::Framing("conflicting Content-Lengths"));
        }
        self.length = Some(length);
        Ok(())
    }

    /// Records a `Transfer-Encoding`.
    ///
    /// # Errors
    /// For anything but a single "chunked": we have asked for no other.
    pub fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Error> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Error::Framing("Transfer-Encoding other than a single \"chunked\""));
        }
        self.chunked = true;
        Ok(())
    }

    /// Returns whether the body is in chunks, so that a `Content-Length` is ignored.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Decides the framing of a response with this status; `to_head` tells that the request was a
    /// HEAD.
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
