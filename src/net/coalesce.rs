//! Coalesces small vectored writes into one plain write.
//!
//! hyper and h2 write a head and its body as two slices. writev(2) costs the kernel more than
//! send(2), by a few percent of a small request. So slices that are small in total are copied into
//! one buffer first; larger ones are not copied.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Largest total of bytes that is copied; most of etcd's answers are smaller.
const SMALL: usize = 2048;

/// Writes `pieces` to `stream`, small ones with one plain write. Returns how many bytes were
/// written, as any write does.
///
/// # Errors
/// Those of the stream.
pub fn poll_write<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = pieces {
        return stream.poll_write(cx, only);
    }
    if pieces.iter().map(|piece| piece.len()).sum::<usize>() > SMALL {
        return stream.poll_write_vectored(cx, pieces);
    }
    let mut together = [0; SMALL];
    let mut end = 0;
    for piece in pieces {
        together[end..end + piece.len()].copy_from_slice(piece);
        end += piece.len();
    }
    stream.poll_write(cx, &together[..end])
}

/// Coalesces small vectored writes; otherwise forwards to the inner stream.
#[derive(Debug)]
pub struct CoalescingWriter<S>(pub S);

impl<S: AsyncRead + Unpin> AsyncRead for CoalescingWriter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CoalescingWriter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write(Pin::new(&mut self.0), cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    async fn written(pieces: &[&[u8]]) -> Vec<u8> {
        let (stream, mut other) = tokio::io::duplex(1 << 20);
        let mut stream = CoalescingWriter(stream);
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let taken =
            poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &slices)).await.unwrap();
        drop(stream);
        let mut arrived = Vec::new();
        other.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived.len(), taken);
        arrived
    }

    #[tokio::test]
    async fn small_pieces_arrive_side_by_side() {
        assert_eq!(written(&[b"head", b"", b"body"]).await, b"headbody");
        assert_eq!(written(&[b"alone"]).await, b"alone");
        let most = vec![b'x'; SMALL - 1];
        assert_eq!(written(&[b"y", &most]).await.len(), SMALL);
    }

    #[tokio::test]
    async fn large_pieces_arrive_in_their_order() {
        let large = vec![b'x'; SMALL];
        let arrived = written(&[b"head", &large]).await;
        assert!(b"head".iter().chain(&large).zip(&arrived).all(|(sent, came)| sent == came));
    }
}
