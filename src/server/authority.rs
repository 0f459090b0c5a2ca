//! Lets in the `:authority` values that etcd accepts and h2 refuses.
//!
//! etcd's own 3.4 clients dial `passthrough:///http://127.0.0.1:2379` for every maintenance call, and grpc-go then sends
//! `:authority: http://127.0.0.1:2379`. etcd does not look at it; h2 parses it, and resets the stream. So this looks at
//! a cleartext HTTP/2 connection below h2 and writes characters over that an authority may have ([`wording`]). Nothing
//! else reads the value: upstream requests name the member.
//!
//! Invariants: no byte is added, lost or moved, and a changed value is as long as before both on the wire and decoded,
//! so both sides' HPACK tables stay in step. A connection whose first header block needs no change is left alone for
//! good, since a client's authority is that of its connection. What is not understood passes as it is.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use self::frames::Frames;

mod block;
mod frames;
mod huffman;
pub mod wording;

/// Room for one read while a connection is looked at, in bytes.
const READ: usize = 8 * 1024;

/// The server's side of a cleartext HTTP/2 connection, read from its preface on. Writes pass through.
pub struct LenientAuthority<S> {
    stream: S,
    /// `None` once the connection turned out to need no changes.
    watch: Option<Box<Watch>>,
}

impl<S> LenientAuthority<S> {
    /// Wraps a connection of which nothing has been read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, watch: Some(Box::default()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LenientAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(watch) = &mut this.watch {
            ready!(watch.poll_clear(&mut this.stream, cx))?;
            watch.give(into);
            if watch.is_over() {
                this.watch = None;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LenientAuthority<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What was read and not given on yet: at most one HEADERS frame and one read.
#[derive(Default)]
struct Watch {
    frames: Frames,
    held: BytesMut,
    /// How many bytes of `held`, from its beginning, may be given on.
    cleared: usize,
    /// The stream has ended, and what is held will never be a whole frame.
    has_ended: bool,
}

impl Watch {
    /// Reads until there is something to give on, or the stream has ended.
    fn poll_clear<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.cleared == 0 && !self.has_ended {
            self.held.reserve(READ);
            let read = ready!(pin!(stream.read_buf(&mut self.held)).poll(cx))?;
            self.has_ended = read == 0;
            self.cleared =
                if self.has_ended { self.held.len() } else { self.frames.clear(&mut self.held) };
        }
        Poll::Ready(Ok(()))
    }

    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let given = self.cleared.min(into.remaining());
        into.put_slice(&self.held[..given]);
        self.held.advance(given);
        self.cleared -= given;
    }

    /// Whether nothing is left here and nothing more is to be looked at.
    fn is_over(&self) -> bool {
        self.held.is_empty() && (self.has_ended || self.frames.is_done())
    }
}

#[cfg(test)]
mod tests;
