//! The body of a response as it comes from a member, and the part of it that may be held back.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::{AbortOnDrop, Open};

/// The body of a response. Dropping it before its end resets the stream with CANCEL.
pub struct ResponseBody {
    /// Received and not taken yet, when [`hold`](Self::hold) has waited for them: a DATA frame, and what came behind it.
    held: (Option<Bytes>, Option<Part>),
    receive: RecvStream,
    data_ended: bool,
    _upload: Option<AbortOnDrop>,
    _open: Open,
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
    pub(super) fn new(receive: RecvStream, upload: Option<AbortOnDrop>, open: Open) -> Box<Self> {
        let held = (None, None);
        Box::new(Self { held, receive, data_ended: false, _upload: upload, _open: open })
    }

    /// Waits until the response is here whole, or proves to be longer than one DATA frame.
    ///
    /// gRPC sends an answer in three pieces: a head, a message, a status. Until the last of them is here nothing is
    /// gained by passing on the first, and if the member is lost meanwhile, nothing has been said to the client yet.
    /// At most two frames are held.
    ///
    /// # Errors
    /// When the stream or its connection ends before; the body is of no use then.
    pub async fn hold(&mut self) -> Result<(), h2::Error> {
        if self.is_end_stream() {
            return Ok(());
        }
        poll_fn(|cx| self.poll_held(cx)).await
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.held.1.is_none() {
            match ready!(self.poll_received(cx))? {
                Part::Data(data) if self.held.0.is_none() => self.held.0 = Some(data),
                part => self.held.1 = Some(part),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the next part. Credit is given back as parts are taken, so a client that does not read holds up
    /// the member after one stream window.
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, h2::Error>> {
        if let Some(data) = self.held.0.take() {
            return Poll::Ready(Ok(Part::Data(data)));
        }
        match self.held.1.take() {
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
        matches!(self.held, (None, None)) && self.receive.is_end_stream()
    }
}
