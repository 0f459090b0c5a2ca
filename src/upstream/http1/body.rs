//! The body of a response, which reads the connection that it arrives on.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Idle;
use super::chunked::{Chunked, Found};
use super::connection::Connection;
use super::error::Error;
use super::framing::Framing;
use crate::upstream::link::Link;

/// The body of a member's response.
///
/// When it is dropped the connection goes back to its link if the exchange was complete, else it is closed, which is
/// how a member learns that nobody wants the rest.
pub struct ResponseBody {
    /// `None` once it has failed.
    connection: Option<Box<Connection>>,
    framing: Framing,
    link: Rc<Link>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

impl ResponseBody {
    /// Makes the body that follows on `connection` as `framing` says.
    pub(super) fn new(
        connection: Option<Box<Connection>>,
        framing: Framing,
        link: Rc<Link>,
    ) -> Self {
        Self { connection, framing, link }
    }

    fn is_complete(&self) -> bool {
        matches!(self.framing, Framing::Length(0) | Framing::Chunked(Chunked::Done))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if this.is_complete() {
            return Poll::Ready(None);
        }
        let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
        // The request may still be on its way up. If that fails, what the member says about it is still to be read.
        let _ = connection.poll_upload(cx);
        let polled = match &mut this.framing {
            Framing::Length(left) => poll_length(connection, left, cx),
            Framing::Chunked(chunked) => poll_chunked(connection, chunked, cx),
            Framing::UntilClose => poll_until_close(connection, cx),
        };
        if let Poll::Ready(None | Some(Err(_))) = polled
            && !this.is_complete()
        {
            this.connection = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none() || matches!(self.framing, Framing::Length(0))
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.connection, &self.framing) {
            (Some(_), Framing::Length(left)) => SizeHint::with_exact(*left),
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Framing::Chunked(_) | Framing::UntilClose) => SizeHint::new(),
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
    cx: &mut Context<'_>,
) -> Polled {
    loop {
        match chunked.take(connection.inbox())? {
            Found::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Found::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Found::End => return Poll::Ready(None),
            Found::More if ready!(connection.poll_fill(cx))? == 0 => {
                return Poll::Ready(Some(Err(Error::Incomplete)));
            }
            Found::More => {}
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
            self.link.put_idle(Idle { connection, since: self.link.clock(), kept: true });
        }
    }
}
