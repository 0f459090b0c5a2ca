//! A client's HTTP/1 connection that gives hyper nothing which a strict reader would refuse.
//!
//! From the first refused byte on nothing passes, so hyper can find no request behind it. In a head
//! the byte becomes one that hyper refuses too, since hyper answers 400 by itself only to what it
//! could not parse. In a body the read fails, which ends the exchange with a 400 of ours. Both end
//! the connection.
//!
//! Once a head has asked for another protocol, hyper may hand on what it has read as bytes of that
//! protocol. So a byte is not replaced from then on: the read fails there too. A client that keeps
//! to RFC 6455 section 4.1 sends nothing before the 101, after which nothing is looked at.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::http1_framing::{Framing, Refused};
use super::io::{ClientIoState, pass_writes_on};
use super::limits;

/// Ends a refused head: a byte that no head may have, and an end, for which hyper may wait before
/// it looks.
const POISON: &[u8] = b"\0\r\n\r\n";

/// What is wrong with a body that is refused.
const MALFORMED_BODY: &str = "the chunked body is malformed";
/// What is wrong with bytes that are refused after a handshake.
const NO_REQUEST: &str = "what follows a request to upgrade is no request";

/// The server's side of an HTTP/1 connection.
pub struct StrictHttp1<S> {
    stream: S,
    /// Boxed, since it would stand several times in the future of each connection.
    reader: Box<Reader>,
}

struct Reader {
    io_state: Arc<ClientIoState>,
    framing: Framing,
    refusal: Refusal,
    /// Once the connection ends in the middle of a request: until when it is read on, and what was
    /// read.
    ending: Option<(Pin<Box<Sleep>>, usize)>,
}

enum Refusal {
    None,
    /// In a head; so much of the [`POISON`] was given out.
    Head(usize),
    /// Reads fail, for this reason.
    Cut(&'static str),
}

impl<S> StrictHttp1<S> {
    /// Wraps a connection of which nothing has been read yet.
    pub fn new(stream: S, io_state: Arc<ClientIoState>) -> Self {
        let reader =
            Reader { io_state, framing: Framing::default(), refusal: Refusal::None, ending: None };
        Self { stream, reader: Box::new(reader) }
    }
}

impl Reader {
    /// Follows what a read brought from `begin` on, and takes away what is refused.
    fn follow(&mut self, into: &mut ReadBuf<'_>, begin: usize) -> io::Result<()> {
        let heads = self.framing.heads();
        let Err(Refused(offset)) = self.framing.follow(&into.filled()[begin..]) else {
            self.io_state.note_owing(self.framing.is_in_head(), self.framing.heads() != heads);
            return Ok(());
        };
        into.set_filled(begin + offset);
        let why = match () {
            () if self.framing.is_in_body() => MALFORMED_BODY,
            () if self.framing.has_asked_to_upgrade() => NO_REQUEST,
            () => {
                self.refusal = Refusal::Head(0);
                self.poison(into);
                return Ok(());
            }
        };
        self.refusal = Refusal::Cut(why);
        self.io_state.note_malformed(why);
        if offset == 0 { Err(malformed(why)) } else { Ok(()) }
    }

    /// Whether the client is in the middle of a request, or was refused one.
    fn is_amid(&self) -> bool {
        let is_refused = !matches!(self.refusal, Refusal::None);
        is_refused || self.framing.is_in_head() || self.framing.is_in_body()
    }

    /// Reads what the client still sends, until it leaves or it is enough.
    fn poll_read_on<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let (until, read) = self.ending.get_or_insert_with(|| (Box::pin(sleep(limits::UNREAD)), 0));
        while until.as_mut().poll(cx).is_pending() && *read < limits::UNREAD_BYTES {
            let mut room = [MaybeUninit::uninit(); 4096];
            let mut room = ReadBuf::uninit(&mut room);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut room)) {
                Ok(()) if !room.filled().is_empty() => *read += room.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    fn poison(&mut self, into: &mut ReadBuf<'_>) {
        if let Refusal::Head(given) = &mut self.refusal {
            let rest = &POISON[*given..];
            let giving = rest.len().min(into.remaining());
            into.put_slice(&rest[..giving]);
            *given += giving;
        }
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictHttp1<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let reader = &mut *this.reader;
        match reader.refusal {
            Refusal::None => {}
            Refusal::Head(_) => {
                reader.poison(into);
                return Poll::Ready(Ok(()));
            }
            Refusal::Cut(why) => return Poll::Ready(Err(malformed(why))),
        }
        let begin = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
        if reader.io_state.has_switched() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(reader.follow(into, begin))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for StrictHttp1<S> {
    pass_writes_on!();

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if !this.reader.io_state.has_switched() && this.reader.is_amid() {
            ready!(this.reader.poll_read_on(&mut this.stream, cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
