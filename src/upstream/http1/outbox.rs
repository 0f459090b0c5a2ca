//! The bytes of a request that are not yet written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Largest piece of a body, in bytes, that is copied behind the bytes before it, as
/// [`crate::net::coalesce`] would do.
const SMALL: usize = 2048;

/// Bytes to be written: our own, then the client's `data`, then our own `tail`.
#[derive(Default)]
pub struct Outbox {
    own: Vec<u8>,
    /// How many bytes of `own` are written.
    written: usize,
    data: Bytes,
    tail: &'static [u8],
}

impl Outbox {
    /// Fills the outbox with `own`. Its earlier content must have been written.
    pub fn fill(&mut self, own: Vec<u8>) {
        debug_assert!(self.is_empty(), "nothing unwritten may be lost");
        *self = Self { own, ..Self::default() };
    }

    /// Returns the buffer that goes first, to append to it; only while no data follows it.
    pub fn own(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.data.is_empty() && self.tail.is_empty(), "it would be out of order");
        &mut self.own
    }

    /// Appends `data`, and `tail` after it.
    pub fn append(&mut self, data: Bytes, tail: &'static [u8]) {
        if data.len() <= SMALL {
            self.own().extend_from_slice(&data);
            self.own.extend_from_slice(tail);
        } else {
            (self.data, self.tail) = (data, tail);
        }
    }

    /// Returns whether [`Outbox::append`] may be called: nothing of it is written, and no data
    /// waits.
    pub fn takes_more(&self) -> bool {
        self.written == 0 && self.data.is_empty() && self.tail.is_empty()
    }

    /// Returns whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.written == self.own.len() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Writes everything. Sets `wrote` when any byte was written.
    ///
    /// # Errors
    /// The stream's, or `WriteZero` when the stream accepts nothing.
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
        // An idle connection, or one that waits for a watch's event, holds no buffer.
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
