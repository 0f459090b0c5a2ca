//! What of a request is on its way and not yet written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Bytes of a body up to which they are copied behind what precedes them, as
/// [`crate::net::coalesce`] would do.
const SMALL: usize = 2048;

/// Bytes that are to be written: some of ours, some of the client's, and some of ours again.
#[derive(Default)]
pub struct Outbox {
    own: Vec<u8>,
    /// How much of `own` is written.
    written: usize,
    data: Bytes,
    tail: &'static [u8],
}

impl Outbox {
    /// Puts in `own`, which goes first. What was in it before must have been written.
    pub fn fill(&mut self, own: Vec<u8>) {
        debug_assert!(self.is_empty(), "nothing unwritten may be lost");
        *self = Self { own, ..Self::default() };
    }

    /// The buffer that goes first, to write something at its end; only while there is no data
    /// behind it.
    pub fn own(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.data.is_empty() && self.tail.is_empty(), "it would be out of order");
        &mut self.own
    }

    /// Puts `data` behind what is there, and `tail` behind that.
    pub fn append(&mut self, data: Bytes, tail: &'static [u8]) {
        if data.len() <= SMALL {
            self.own().extend_from_slice(&data);
            self.own.extend_from_slice(tail);
        } else {
            (self.data, self.tail) = (data, tail);
        }
    }

    /// Whether [`Outbox::append`] may be called: nothing of it is written, and no data waits.
    pub fn takes_more(&self) -> bool {
        self.written == 0 && self.data.is_empty() && self.tail.is_empty()
    }

    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.written == self.own.len() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Writes all of it. Returns whether anything was left to write.
    ///
    /// # Errors
    /// The stream's; a stream that takes nothing is one of them.
    pub fn poll_write<W: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut W>,
        cx: &mut Context<'_>,
        wrote: &mut bool,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = if self.data.is_empty() && self.tail.is_empty() {
                io.as_mut().poll_write(cx, &self.own[self.written..])
            } else {
                let own = IoSlice::new(&self.own[self.written..]);
                let pieces = [own, IoSlice::new(&self.data), IoSlice::new(self.tail)];
                io.as_mut().poll_write_vectored(cx, &pieces)
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.advance(count),
            }
            *wrote = true;
        }
        // An idle connection, and one that waits for an event, holds no buffer.
        *self = Self::default();
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let own = count.min(self.own.len() - self.written);
        self.written += own;
        let data = (count - own).min(self.data.len());
        self.data.advance(data);
        self.tail = &self.tail[count - own - data..];
    }
}
