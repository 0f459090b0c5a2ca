//! The upload of a request's body to the member.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use http_body::{Body, Frame};

use super::error::Error;
use super::outbox::Outbox;
use super::request::{RequestFraming, field};
use crate::message::replay_body::ReplayBody;

/// The part of a request's body that is not yet in the outbox.
#[derive(Default)]
pub enum Upload {
    /// Nothing.
    #[default]
    Done,
    /// This many bytes more.
    Length(ReplayBody, u64),
    /// Chunks, until the client's body ends.
    Chunked(ReplayBody),
    /// The upload failed, so the connection cannot be used again.
    Failed,
}

impl Upload {
    /// Begins the upload of `body`, whose head is already in the outbox.
    pub fn new(body: ReplayBody, framing: RequestFraming) -> Self {
        match framing {
            RequestFraming::Empty | RequestFraming::Length(0) => Self::Done,
            RequestFraming::Length(length) => Self::Length(body, length),
            RequestFraming::Chunked => Self::Chunked(body),
        }
    }

    /// Returns whether the whole body was put into the outbox.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Puts the next part of the body into `outbox`, of which nothing may be written yet and which
    /// may hold no data: see [`Outbox::takes_more`].
    ///
    /// # Errors
    /// [`Error::ClientBody`] when the client's body fails, or is shorter or longer than its
    /// declared length.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
    ) -> Poll<Result<(), Error>> {
        let done = match self {
            Self::Done => return Poll::Ready(Ok(())),
            Self::Failed => return Poll::Pending,
            Self::Length(body, left) => match ready!(data(body, cx))? {
                Some(data) => {
                    *left = left.checked_sub(data.len() as u64).ok_or(Error::ClientBody(None))?;
                    outbox.append(data, b"");
                    *left == 0
                }
                None => return Poll::Ready(Err(Error::ClientBody(None))),
            },
            Self::Chunked(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                Some(frame) => {
                    put_chunk(frame.map_err(|error| Error::ClientBody(Some(error)))?, outbox)
                }
                None => {
                    outbox.append(Bytes::from_static(b"0\r\n\r\n"), b"");
                    true
                }
            },
        };
        if done {
            *self = Self::Done;
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns the next data of a body of known length; `None` at its end. Trailers are skipped:
/// HTTP/1.1 has no place for them after a body with a length.
fn data(body: &mut ReplayBody, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
    loop {
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else {
            return Poll::Ready(Ok(None));
        };
        let frame = frame.map_err(|error| Error::ClientBody(Some(error)))?;
        if let Ok(data) = frame.into_data() {
            return Poll::Ready(Ok(Some(data)));
        }
    }
}

/// Puts a chunk into `outbox`, or the last chunk with trailers. Returns whether it was the last
/// one.
fn put_chunk(frame: Frame<Bytes>, outbox: &mut Outbox) -> bool {
    match frame.into_data() {
        // An empty chunk would be the last one.
        Ok(data) if data.is_empty() => false,
        Ok(data) => {
            let _ = write!(outbox.own(), "{:x}\r\n", data.len()); // A Vec takes everything.
            outbox.append(data, b"\r\n");
            false
        }
        Err(frame) => {
            let own = outbox.own();
            own.extend_from_slice(b"0\r\n");
            put_trailers(own, &frame.into_trailers().unwrap_or_default());
            own.extend_from_slice(b"\r\n");
            true
        }
    }
}

/// Writes trailers, without the fields that frame or route a message, which must not follow it (RFC
/// 9110 section 6.5.1).
fn put_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    for (name, value) in trailers {
        if ![CONTENT_LENGTH, TRANSFER_ENCODING, HOST].contains(name) {
            field(out, name, value);
        }
    }
}
