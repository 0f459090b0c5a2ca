//! Wraps a client's connection to observe what hyper and h2 do not report: whether bytes given to
//! be written are still unwritten, whether a client has left while nobody reads from it, and
//! whether it owes the rest of something it has begun to send.
//!
//! hyper reads nothing while an HTTP/1 request is open and bytes of the next one have already
//! arrived. So it does not notice that such a client has left, and a watch would be kept for
//! nobody. The connection's driver therefore checks from time to time, with
//! [`ClientIoState::check_hangup`].

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::net::coalesce::{self, CoalescingWriter};

/// Implements the write methods by forwarding to the field `stream`, except for the shutdown.
macro_rules! pass_writes_on {
    () => {
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
            pieces: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }
    };
}
pub(super) use pass_writes_on;

/// A stream to a client that coalesces small vectored writes and records its state.
pub struct ClientIo<S> {
    stream: S,
    io_state: Arc<ClientIoState>,
}

/// The observed state of a connection, for its driver.
#[derive(Debug)]
pub struct ClientIoState {
    unwritten: AtomicBool,
    check_hangup: AtomicBool,
    switched: AtomicBool,
    malformed: OnceLock<&'static str>,
    /// Whether the last read was pending.
    starved: AtomicBool,
    /// When the client began to owe the rest of a head or a frame, in milliseconds after `born`;
    /// zero if it owes nothing.
    owing: AtomicU64,
    born: Instant,
}

impl Default for ClientIoState {
    fn default() -> Self {
        Self {
            unwritten: AtomicBool::new(false),
            check_hangup: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            malformed: OnceLock::new(),
            starved: AtomicBool::new(false),
            owing: AtomicU64::new(0),
            born: Instant::now(),
        }
    }
}

impl ClientIoState {
    /// Returns whether bytes wait to be written until the client reads.
    pub fn has_unwritten(&self) -> bool {
        self.unwritten.load(Relaxed)
    }

    /// Makes the next flush fail if the client has left.
    pub fn check_hangup(&self) {
        self.check_hangup.store(true, Relaxed);
    }

    /// Records that the connection leaves HTTP, by a 101 that is about to be written.
    pub fn switch(&self) {
        self.switched.store(true, Relaxed);
    }

    /// Records why reads fail. hyper's error differs from that of a broken connection only in its
    /// text.
    pub fn note_malformed(&self, why: &'static str) {
        let _ = self.malformed.set(why);
    }

    /// Returns why reads fail, if something was refused.
    pub fn malformed(&self) -> Option<&'static str> {
        self.malformed.get().copied()
    }

    /// Records whether the client owes the rest of a head or a frame. The clock restarts for each
    /// head or frame that `is_new`.
    pub fn note_owing(&self, is_owing: bool, is_new: bool) {
        let was_owing = self.owing.load(Relaxed) != 0;
        if is_owing && (is_new || !was_owing) {
            let since = self.born.elapsed().as_millis().max(1);
            self.owing.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
        } else if !is_owing && was_owing {
            self.owing.store(0, Relaxed);
        }
    }

    /// Returns since when the client has owed the rest of a head or a frame; `None` unless we are
    /// waiting to read it.
    pub fn owes_since(&self) -> Option<Instant> {
        let since = self.owing.load(Relaxed);
        (since != 0 && self.starved.load(Relaxed)).then(|| self.born + Duration::from_millis(since))
    }

    /// Returns whether the connection has left HTTP.
    pub fn has_switched(&self) -> bool {
        self.switched.load(Relaxed)
    }
}

impl<S: HungUp> ClientIo<S> {
    /// Wraps a stream to a client.
    pub fn new(stream: S) -> Self {
        Self { stream, io_state: Arc::default() }
    }

    /// Returns the observed state, which stays available when the stream is given away.
    pub fn state(&self) -> Arc<ClientIoState> {
        self.io_state.clone()
    }

    /// Records that a pending write or flush leaves something unwritten.
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.io_state.unwritten.store(polled.is_pending(), Relaxed);
        polled
    }
}

/// A stream that can tell without reading whether its peer has left.
pub trait HungUp {
    /// Returns whether the peer has closed its direction, or the connection is broken.
    fn has_hung_up(&self) -> bool;
}

impl HungUp for TcpStream {
    fn has_hung_up(&self) -> bool {
        is_read_closed(self.ready(Interest::READABLE))
    }
}

impl HungUp for UnixStream {
    fn has_hung_up(&self) -> bool {
        is_read_closed(self.ready(Interest::READABLE))
    }
}

impl<S: HungUp> HungUp for CoalescingWriter<S> {
    fn has_hung_up(&self) -> bool {
        self.0.has_hung_up()
    }
}

impl<S: HungUp> HungUp for TlsStream<S> {
    fn has_hung_up(&self) -> bool {
        self.get_ref().0.has_hung_up()
    }
}

impl<T: HungUp> HungUp for Box<T> {
    fn has_hung_up(&self) -> bool {
        (**self).has_hung_up()
    }
}

/// Returns whether the runtime has already seen the end of a socket's reads.
fn is_read_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    match pin!(ready).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(ready)) => ready.is_read_closed(),
        Poll::Ready(Err(_)) => true,
        Poll::Pending => false,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        self.io_state.starved.store(polled.is_pending(), Relaxed);
        polled
    }
}

impl<S: AsyncWrite + HungUp + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = coalesce::poll_write(Pin::new(&mut self.stream), cx, pieces);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.io_state.check_hangup.load(Relaxed) {
            self.io_state.check_hangup.store(false, Relaxed);
            if self.stream.has_hung_up() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_client_that_left_is_seen_behind_bytes_that_nobody_reads() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut io = ClientIo::new(server);
        let io_state = io.state();
        client.write_all(b"unread").await.unwrap();
        io_state.check_hangup();
        io.flush().await.expect("it is still there");
        drop(client);
        while !io.stream.has_hung_up() {
            tokio::task::yield_now().await;
        }
        io.flush().await.expect("no check was requested");
        io_state.check_hangup();
        assert_eq!(io.flush().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn what_the_client_does_not_take_is_unwritten_until_it_does() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut io = ClientIo::new(server);
        let io_state = io.state();
        let block = [7; 4096];
        let mut sent = 0;
        let write = async |io: &mut ClientIo<UnixStream>| {
            std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_write(cx, &block))).await
        };
        while let Poll::Ready(Ok(count)) = write(&mut io).await {
            assert!(!io_state.has_unwritten());
            sent += count;
        }
        assert!(io_state.has_unwritten());
        client.read_exact(&mut vec![0; sent]).await.unwrap();
        io.write_all(b"the rest").await.unwrap();
        assert!(!io_state.has_unwritten());
    }
}
