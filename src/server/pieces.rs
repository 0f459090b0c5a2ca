//! A reader for tests that returns its bytes in pieces, as a socket may.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Reads its bytes in pieces of the given sizes, in turn, each after one `Pending`.
pub struct Pieces {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
    turn: usize,
}

impl Pieces {
    /// Creates a reader of `bytes`.
    pub fn new(bytes: &[u8], sizes: &[usize]) -> Self {
        Self { bytes: bytes.to_vec(), sizes: sizes.to_vec(), turn: 0 }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.turn += 1;
        if self.turn % 2 == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let size = self.sizes[self.turn / 2 % self.sizes.len()];
        let size = size.min(self.bytes.len()).min(into.remaining());
        let rest = self.bytes.split_off(size);
        into.put_slice(&std::mem::replace(&mut self.bytes, rest));
        Poll::Ready(Ok(()))
    }
}
