//! The body of a response, which reads its own connection.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::chunked::{Chunked, Found};
use super::connection::Connection;
use super::error::Error;
use super::framing::ResponseFraming;
use super::idle::IdlePool;
use super::whole_chunk::{ChunkBudget, PartialChunk};

/// The body of a member's response.
///
/// When it is dropped the connection goes back to its pool if the exchange was complete. Otherwise
/// it is closed, which tells the member that the rest is not wanted.
pub struct ResponseBody {
    /// `None` once the body has failed, or ended with the connection.
    connection: Option<Box<Connection>>,
    framing: ResponseFraming,
    /// The chunk being read, if it is held until it is whole.
    partial: Option<Box<PartialChunk>>,
    home: Rc<IdlePool>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

impl ResponseBody {
    /// Creates the body that follows on `connection`, framed by `framing`.
    pub(super) fn new(
        connection: Option<Box<Connection>>,
        framing: ResponseFraming,
        home: Rc<IdlePool>,
    ) -> Self {
        Self { connection, framing, partial: None, home }
    }

    /// Returns the next part of the body. Each of the member's chunks is one part if `budget` has
    /// room for it; without a budget each part is what one read brought.
    ///
    /// # Errors
    /// When the connection fails, or the body is not well framed.
    pub fn poll_part(&mut self, cx: &mut Context<'_>, budget: Option<&ChunkBudget>) -> Polled {
        if self.is_complete() {
            return Poll::Ready(None);
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        // The request may still be on its way up. If that fails, the member's answer to it is read
        // all the same.
        let _ = connection.poll_upload(cx);
        let polled = match &mut self.framing {
            ResponseFraming::Length(left) => poll_length(connection, left, cx),
            ResponseFraming::Chunked(chunked) => {
                poll_chunked(connection, chunked, &mut self.partial, budget, cx)
            }
            ResponseFraming::UntilClose => poll_until_close(connection, cx),
        };
        if let Poll::Ready(None | Some(Err(_))) = polled
            && !self.is_complete()
        {
            self.connection = None;
        }
        polled
    }

    fn is_complete(&self) -> bool {
        matches!(self.framing, ResponseFraming::Length(0) | ResponseFraming::Chunked(Chunked::Done))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        self.poll_part(cx, None)
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none() || matches!(self.framing, ResponseFraming::Length(0))
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.connection, &self.framing) {
            (Some(_), ResponseFraming::Length(left)) => SizeHint::with_exact(*left),
            (None, _) => SizeHint::with_exact(0),
            (Some(_), ResponseFraming::Chunked(_) | ResponseFraming::UntilClose) => SizeHint::new(),
        }
    }
}

fn poll_length(connection: &mut Connection, left: &mut u64, cx: &mut Context<'_>) -> Polled {
    if connection.inbox().is_empty() && ready!(connection.poll_fill(cx))? == 0 {
        return Poll::Ready(Some(Err(Error::Incomplete)));
    }
    let inbox = connection.inbox();
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(inbox.len());
    *left -= length as u64;
    Poll::Ready(Some(Ok(Frame::data(inbox.split_to(length)))))
}

fn poll_chunked(
    connection: &mut Connection,
    chunked: &mut Chunked,
    partial: &mut Option<Box<PartialChunk>>,
    budget: Option<&ChunkBudget>,
    cx: &mut Context<'_>,
) -> Polled {
    loop {
        let read = match (chunked.take(connection.inbox())?, partial.as_deref_mut()) {
            (Found::Begin(size), _) => {
                if connection.inbox().len() as u64 >= size {
                    continue;
                }
                *partial =
                    budget.and_then(|budget| PartialChunk::begin(size, budget)).map(Box::new);
                continue;
            }
            (Found::Data(data), None) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            (Found::Data(data), Some(held)) => {
                // This piece is not the last one, else the chunk would not be held.
                held.push(&data);
                continue;
            }
            (Found::Trailers(trailers), _) => {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            (Found::End, _) => return Poll::Ready(None),
            (Found::More, None) => ready!(connection.poll_fill(cx))?,
            (Found::More, Some(held)) => {
                let read = ready!(connection.poll_fill_part(cx, held))?;
                chunked.advance(read);
                if held.is_whole()
                    && let Some(whole) = partial.take()
                {
                    return Poll::Ready(Some(Ok(Frame::data(whole.finish()))));
                }
                read
            }
        };
        if read == 0 {
            return Poll::Ready(Some(Err(Error::Incomplete)));
        }
    }
}

fn poll_until_close(connection: &mut Connection, cx: &mut Context<'_>) -> Polled {
    if connection.inbox().is_empty() && ready!(connection.poll_fill(cx))? == 0 {
        return Poll::Ready(None);
    }
    Poll::Ready(Some(Ok(Frame::data(std::mem::take(connection.inbox())))))
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if !self.is_complete() {
            return;
        }
        if let Some(connection) = self.connection.take()
            && connection.is_reusable()
        {
            self.home.put(connection);
        }
    }
}
