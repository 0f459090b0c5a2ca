//! The body of a member's response, and the part of it that may be held back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::StreamGuard;
use crate::net::abort_on_drop::AbortOnDrop;

/// Bytes of a response beyond which no more is held back. Members send that much in one frame, or
/// with TLS, where their gRPC runs over Go's own HTTP server, in frames of 4 KiB.
const HELD: usize = 16 * 1024;
/// Most frames that are held back.
const HELD_FRAMES: usize = 8;

/// The body of a response. Dropping it before its end resets the stream with CANCEL.
pub struct ResponseBody {
    /// Parts that [`hold`](Self::hold) has received and that are not taken yet.
    held: Held,
    receive: RecvStream,
    data_ended: bool,
    _upload: Option<AbortOnDrop>,
    _guard: StreamGuard,
}

#[derive(Default)]
struct Held {
    data: VecDeque<Bytes>,
    bytes: usize,
    /// The part that ends the body, once it is received.
    end: Option<Part>,
}

/// The next part of a response's body.
pub enum Part {
    /// Bytes.
    Data(Bytes),
    /// The trailers, which end the body.
    Trailers(HeaderMap),
    /// The end, without trailers.
    End,
}

impl ResponseBody {
    /// Boxed: it moves together with the head through several futures, which would all grow by its
    /// size.
    pub(super) fn new(
        receive: RecvStream,
        upload: Option<AbortOnDrop>,
        guard: StreamGuard,
    ) -> Box<Self> {
        let held = Held::default();
        Box::new(Self { held, receive, data_ended: false, _upload: upload, _guard: guard })
    }

    /// Waits until the whole response is received, or too much of it to hold: more than 16 KiB, or
    /// eight frames.
    ///
    /// gRPC sends an answer in three pieces: a head, a message and a status. Passing on the first
    /// before the last is here gains nothing. And if the member is lost meanwhile, the client has
    /// not been sent anything yet. The held bytes come on top of the stream's window.
    ///
    /// # Errors
    /// When the stream or its connection ends before that; the body cannot be used then.
    pub async fn hold(&mut self) -> Result<(), h2::Error> {
        poll_fn(|cx| self.poll_held(cx)).await
    }

    /// Returns the trailers of a complete answer without a message, which is an error; empty when
    /// the answer is only a head. `None` for any other answer.
    pub fn error_held(&self) -> Option<&HeaderMap> {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        match &self.held.end {
            _ if !self.held.data.is_empty() => None,
            Some(Part::Trailers(trailers)) => Some(trailers),
            _ => self.receive.is_end_stream().then(|| &*NONE),
        }
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.held.has_room() && !self.receive.is_end_stream() {
            match ready!(self.poll_received(cx))? {
                Part::Data(data) => self.held.push(data),
                end => self.held.end = Some(end),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the next part. Window credit is returned as parts are taken, so a client that does
    /// not read stops the member after one stream window.
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, h2::Error>> {
        match self.held.take() {
            Some(part) => Poll::Ready(Ok(part)),
            None => self.poll_received(cx),
        }
    }

    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, h2::Error>> {
        if !self.data_ended {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = self.receive.flow_control().release_capacity(data.len());
                    return Poll::Ready(Ok(Part::Data(data)));
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.receive.poll_trailers(cx))?;
        Poll::Ready(Ok(trailers.map_or(Part::End, Part::Trailers)))
    }

    /// Returns whether everything was received and taken.
    pub fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.receive.is_end_stream()
    }
}

impl Held {
    fn has_room(&self) -> bool {
        self.end.is_none() && self.bytes <= HELD && self.data.len() < HELD_FRAMES
    }

    fn push(&mut self, data: Bytes) {
        self.bytes += data.len();
        self.data.push_back(data);
    }

    fn take(&mut self) -> Option<Part> {
        self.data.pop_front().map(Part::Data).or_else(|| self.end.take())
    }

    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.end.is_none()
    }
}
