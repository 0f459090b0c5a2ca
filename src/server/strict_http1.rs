//! Wraps a client's HTTP/1 connection, and passes nothing to hyper that a strict reader of RFC 9112
//! would refuse.
//!
//! Nothing passes from the first refused byte on, so hyper cannot find a request behind it. In a
//! head, the byte is replaced by one that hyper refuses too, since hyper itself answers 400 only to
//! what it could not parse. In a body, the read fails, which ends the exchange with our own 400.
//! Both end the connection.
//!
//! Once a head has asked for an upgrade, hyper may hand on the bytes that it has read as bytes of
//! the new protocol. So from then on no byte is replaced: the read fails there too. A client that
//! keeps to RFC 6455 section 4.1 sends nothing before the 101, and after the 101 the bytes are not
//! inspected.

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

/// Ends a refused head: a byte that no head may contain, and an end of the head, since hyper may
/// wait for one before it parses.
const POISON: &[u8] = b"\0\r\n\r\n";

/// The reason for refusing a body.
const MALFORMED_BODY: &str = "the chunked body is malformed";
/// The reason for refusing bytes after a request to upgrade.
const NO_REQUEST: &str = "the bytes after an upgrade request are not a request";

/// The server's side of an HTTP/1 connection, with strict framing.
pub struct StrictHttp1<S> {
    stream: S,
    /// Boxed, since the future of each connection would hold it several times.
    reader: Box<Reader>,
}

struct Reader {
    io_state: Arc<ClientIoState>,
    framing: Framing,
    refusal: Refusal,
    /// Set once the connection ends in the middle of a request: the time until which it is read on,
    /// and how many bytes were read.
    ending: Option<(Pin<Box<Sleep>>, usize)>,
}

enum Refusal {
    None,
    /// In a head; this many bytes of the [`POISON`] were handed out.
    Head(usize),
    /// In a body or after a request to upgrade; reads fail for this reason.
    Cut(&'static str),
}

impl<S> StrictHttp1<S> {
    /// Wraps a connection from which nothing has been read yet.
    pub fn new(stream: S, io_state: Arc<ClientIoState>) -> Self {
        let reader =
            Reader { io_state, framing: Framing::default(), refusal: Refusal::None, ending: None };
        Self { stream, reader: Box::new(reader) }
    }
}

impl Reader {
    /// Checks what a read brought from `begin` on, and removes what is refused.
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

    /// Returns whether the client is in the middle of a request, or had one refused.
    fn is_amid(&self) -> bool {
        let is_refused = !matches!(self.refusal, Refusal::None);
        is_refused || self.framing.is_in_head() || self.framing.is_in_body()
    }

    /// Discards what the client still sends, until it leaves or one of the limits
    /// [`limits::UNREAD`] and [`limits::UNREAD_BYTES`] is reached.
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
