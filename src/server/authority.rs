//! Lets in the `:authority` values that members accept and h2 refuses.
//!
//! etcd's own clients send them: 3.4 `http://127.0.0.1:2379` for maintenance calls, 3.5.0
//! `#initially=[127.0.0.1:2379;127.0.0.1:22379]` for all. A member does not look at the value; h2
//! parses it, and resets the stream, or ends the connection if it is not UTF-8. h2 has no setting
//! for that, and the decision falls before anything of ours sees the request. So this follows the
//! frames below h2 and puts another value in its place ([`substitute`]). Nothing else reads it:
//! upstream requests name the member.
//!
//! Invariant: a substitute counts as much in HPACK's dynamic table as the value (RFC 7541 section
//! 4.1), so both sides evict the same entries, and what a client refers to later is its substitute.
//! An empty value that stands in no table is taken away. What is not understood passes as it is.
//!
//! What passes as it is, nearly all, is not copied. The layer also knows when a client owes the
//! rest of a frame.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use self::frames::{Frames, Next};
use super::io::{ClientIoState, pass_writes_on};

mod block;
mod frames;
mod huffman;
pub mod substitute;

/// Room for one read while something is held back, in bytes.
const READ: usize = 8 * 1024;

/// The server's side of an HTTP/2 connection, read from its preface on. Writes pass through.
pub struct LenientAuthority<S> {
    stream: S,
    io_state: Arc<ClientIoState>,
    frames: Frames,
    /// What was read and not given on: the begin of a frame, or what was rewritten.
    held: BytesMut,
    /// How many bytes of `held`, from its begin, may be given on.
    cleared: usize,
}

impl<S> LenientAuthority<S> {
    /// Wraps a connection of which nothing has been read yet.
    pub fn new(stream: S, io_state: Arc<ClientIoState>) -> Self {
        Self { stream, io_state, frames: Frames::default(), held: BytesMut::new(), cleared: 0 }
    }

    /// Notes whether the client owes the rest of something, after a read before which `whole`
    /// frames had passed.
    fn note(&self, whole: u64) {
        let is_owing = self.frames.is_unfinished() || self.cleared < self.held.len();
        // DATA may come as slowly as it likes, as long as it comes.
        let is_new = self.frames.whole() != whole || self.frames.is_in_data();
        self.io_state.note_owing(is_owing, is_new);
    }

    /// Looks at what is held, as far as it is whole.
    fn clear(&mut self) {
        loop {
            let (passed, next) = self.frames.follow(&self.held[self.cleared..]);
            self.cleared += passed;
            let Next::Rewritten(taken, by) = next else { return };
            let rest = self.held.split_off(self.cleared);
            self.held.extend_from_slice(&by);
            self.cleared += by.len();
            self.held.extend_from_slice(&rest[taken..]);
        }
    }

    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let given = self.cleared.min(into.remaining());
        into.put_slice(&self.held[..given]);
        self.held.advance(given);
        self.cleared -= given;
    }
}

impl<S: AsyncRead + Unpin> LenientAuthority<S> {
    /// Reads straight into the caller's room, and takes out what cannot pass as it is.
    fn poll_straight(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Read>> {
        let begin = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let fresh = &into.filled()[begin..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(Read::Some));
        }
        let (passed, next) = self.frames.follow(fresh);
        let rest = &fresh[passed..];
        match next {
            Next::More => self.held.extend_from_slice(rest),
            Next::Rewritten(taken, by) => {
                self.held.extend_from_slice(&by);
                self.cleared = by.len();
                self.held.extend_from_slice(&rest[taken..]);
                self.clear();
            }
        }
        into.set_filled(begin + passed);
        Poll::Ready(Ok(if passed > 0 { Read::Some } else { Read::Held }))
    }

    /// Reads until something of what is held may be given on, or the stream has ended.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.cleared == 0 {
            self.held.reserve(READ);
            if ready!(pin!(self.stream.read_buf(&mut self.held)).poll(cx))? == 0 {
                // Nothing of it will ever be whole.
                self.cleared = self.held.len();
                break;
            }
            self.clear();
        }
        Poll::Ready(Ok(()))
    }
}

/// What came of a read.
enum Read {
    /// Bytes for the caller, or the end of the stream.
    Some,
    /// All of it is held.
    Held,
}

impl<S: AsyncRead + Unpin> AsyncRead for LenientAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let whole = this.frames.whole();
        if this.held.is_empty() {
            let read = ready!(this.poll_straight(cx, into))?;
            this.note(whole);
            if let Read::Some = read {
                return Poll::Ready(Ok(()));
            }
        }
        let polled = this.poll_held(cx);
        this.note(whole);
        ready!(polled)?;
        this.give(into);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LenientAuthority<S> {
    pass_writes_on!();

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
