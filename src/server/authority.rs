//! Accepts the `:authority` values that members accept and h2 refuses.
//!
//! etcd's own clients send such values: 3.4 `http://127.0.0.1:2379` for maintenance calls, 3.5.0
//! `#initially=[127.0.0.1:2379;127.0.0.1:22379]` for all calls. A member ignores the value. h2
//! parses it, and resets the stream, or ends the connection if it is not UTF-8. h2 has no setting
//! for that, and it decides before any code of ours sees the request. So this layer follows the
//! frames below h2 and replaces the value ([`substitute`]). Nothing else reads it: upstream
//! requests name the member.
//!
//! Invariant: a substitute has the same size in HPACK's dynamic table as the value (RFC 7541
//! section 4.1), so both sides evict the same entries, and a client that later refers to its value
//! gets the substitute. An empty value that is not kept in a table is removed. Anything that is not
//! understood passes unchanged.
//!
//! Bytes that pass unchanged, which is nearly all, are not copied. The layer also knows when a
//! client owes the rest of a frame.

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

/// Bytes of room for one read while something is held back.
const READ: usize = 8 * 1024;

/// The server's side of an HTTP/2 connection, from its preface on. Writes pass through.
pub struct LenientAuthority<S> {
    stream: S,
    io_state: Arc<ClientIoState>,
    frames: Frames,
    /// Bytes that were read and not handed out: the start of a frame, or rewritten frames.
    held: BytesMut,
    /// How many bytes at the start of `held` may be handed out.
    cleared: usize,
}

impl<S> LenientAuthority<S> {
    /// Wraps a connection from which nothing has been read yet.
    pub fn new(stream: S, io_state: Arc<ClientIoState>) -> Self {
        Self { stream, io_state, frames: Frames::default(), held: BytesMut::new(), cleared: 0 }
    }

    /// Records whether the client owes the rest of something after a read; `whole` frames had
    /// passed before it.
    fn note(&self, whole: u64) {
        let is_owing = self.frames.is_unfinished() || self.cleared < self.held.len();
        // DATA may come slowly, as long as it comes.
        let is_new = self.frames.whole() != whole || self.frames.is_in_data();
        self.io_state.note_owing(is_owing, is_new);
    }

    /// Processes what is held, as far as its frames are whole.
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
    /// Reads straight into the caller's buffer, and takes out what cannot pass unchanged.
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

    /// Reads until some of the held bytes may be handed out, or the stream has ended.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.cleared == 0 {
            self.held.reserve(READ);
            if ready!(pin!(self.stream.read_buf(&mut self.held)).poll(cx))? == 0 {
                // The frame will never be whole.
                self.cleared = self.held.len();
                break;
            }
            self.clear();
        }
        Poll::Ready(Ok(()))
    }
}

/// The result of a read.
enum Read {
    /// Bytes for the caller, or the end of the stream.
    Some,
    /// All bytes are held back.
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
