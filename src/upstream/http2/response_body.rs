//! The body of a response as it comes from a member, and the part of it that may be held back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::StreamGuard;
use crate::net::abort_on_drop::AbortOnDrop;

/// Longest part of a response that is held back, in bytes. Members send it in one frame, or, behind
/// TLS, where their gRPC runs over Go's own HTTP server, in frames of 4 KiB.
const HELD: usize = 16 * 1024;
/// Most frames that are held.
const HELD_FRAMES: usize = 8;

/// The body of a response. Dropping it before its end resets the stream with CANCEL.
pub struct ResponseBody {
    /// Received and not taken yet, when [`hold`](Self::hold) has waited for it.
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
    /// What ends the body, once that is here.
    end: Option<Part>,
}

/// What comes next of a response's body.
pub enum Part {
    /// Bytes.
    Data(Bytes),
    /// The trailers, which end it.
    Trailers(HeaderMap),
    /// The end, without trailers.
    End,
}

impl ResponseBody {
    /// In a box: it waits and moves together with the head, in each of the futures on its way.
    pub(super) fn new(
        receive: RecvStream,
        upload: Option<AbortOnDrop>,
        guard: StreamGuard,
    ) -> Box<Self> {
        let held = Held::default();
        Box::new(Self { held, receive, data_ended: false, _upload: upload, _guard: guard })
    }

    /// Waits until the response is here whole, or too much of it to be held: 16 KiB, or eight
    /// frames.
    ///
    /// gRPC sends an answer in three pieces: a head, a message, a status. Until the last of them is
    /// here nothing is gained by passing on the first, and if the member is lost meanwhile, nothing
    /// has been said to the client yet. What is held comes on top of the stream's window.
    ///
    /// # Errors
    /// When the stream or its connection ends before; the body is of no use then.
    pub async fn hold(&mut self) -> Result<(), h2::Error> {
        poll_fn(|cx| self.poll_held(cx)).await
    }

    /// The trailers of an answer that is here whole and has no message, so that it is an error;
    /// empty when the head is all there is.
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

    /// Waits for the next part. Credit is given back as parts are taken, so a client that does not
    /// read holds up the member after one stream window.
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

    /// Whether everything has been received and taken.
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
