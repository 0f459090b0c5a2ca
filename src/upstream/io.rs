//! A connection to a member, with the limits of `proxy-read-timeout` and `proxy-write-timeout`.
//!
//! As in etcd's old proxy each limit is for one read or write, not for a request: a write must be
//! taken by the kernel, and a read must bring a byte, within its time. A timer is armed only when
//! the kernel makes us wait.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::proof::Witness;
use crate::net::maybe_tls::MaybeTlsStream;
use crate::tls::{Connector, HandshakeError};

/// A stream to a member whose single reads and writes are limited in time.
#[derive(Debug)]
pub struct MemberIo {
    stream: MaybeTlsStream,
    /// What made the TLS within, if there is any: it can explain its errors.
    tls: Option<Connector>,
    epoch: u64,
    io_state: Arc<MemberIoState>,
    read: Limit,
    write: Limit,
}

/// What is seen of a connection besides its bytes, for whoever waits for an answer on it.
#[derive(Debug)]
pub struct MemberIoState {
    reads: AtomicU64,
    refusal: OnceLock<HandshakeError>,
    address: SocketAddr,
    socket: RawFd,
    proof: Mutex<Proof>,
}

/// What a connection does for the proof of its address.
#[derive(Debug)]
enum Proof {
    /// Nothing yet.
    None,
    /// It keeps it.
    Kept { _by: Witness },
    /// Nothing any more: it is closed.
    Closed,
}

impl MemberIoState {
    /// The address that was connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the connection keep the proof of its address until it is closed. `witness` makes what
    /// does that of the socket; it is not called when the connection is closed already.
    pub fn keep_proof(&self, witness: impl FnOnce(RawFd) -> Option<Witness>) -> bool {
        let mut proof = self.lock_proof();
        if let Proof::None = *proof
            && let Some(witness) = witness(self.socket)
        {
            *proof = Proof::Kept { _by: witness };
        }
        !matches!(*proof, Proof::Closed)
    }

    fn lock_proof(&self) -> std::sync::MutexGuard<'_, Proof> {
        self.proof.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was read.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// Why the member has turned us away, if it has. In TLS 1.3 it refuses our certificate only in
    /// answer to the first bytes, and has then acted on none of them. No other trouble with TLS
    /// proves that: a record that is damaged on its way may be the answer to a request that was
    /// carried out.
    pub fn refusal(&self) -> Option<&HandshakeError> {
        self.refusal.get()
    }
}

/// A limit on how long one operation may make us wait; without a duration it never strikes.
#[derive(Debug)]
struct Limit {
    allowed: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl MemberIo {
    /// Puts limits on `stream`, which is TLS made by `tls` if that is given; `None` means no limit.
    ///
    /// # Errors
    /// The kernel's, when the connection is closed already.
    pub fn new(
        stream: MaybeTlsStream,
        tls: Option<Connector>,
        read: Option<Duration>,
        write: Option<Duration>,
    ) -> io::Result<Self> {
        let (read, write) = (Limit::new(read), Limit::new(write));
        let io_state = MemberIoState {
            reads: AtomicU64::new(0),
            refusal: OnceLock::new(),
            address: stream.tcp().peer_addr()?,
            socket: stream.tcp().as_raw_fd(),
            proof: Mutex::new(Proof::None),
        };
        Ok(Self { stream, tls, epoch: 0, io_state: Arc::new(io_state), read, write })
    }

    /// Says under which of its worker endpoint's connectors it was made: see
    /// [`WorkerEndpoint::epoch`](super::worker_endpoint::WorkerEndpoint::epoch).
    #[must_use]
    pub fn of_epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// Under which of its worker endpoint's connectors it was made.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What is seen of it, also once it is given away.
    pub fn state(&self) -> Arc<MemberIoState> {
        self.io_state.clone()
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    fn note(&self, error: &io::Error) {
        // Whoever has answered in TLS has let us in.
        if self.io_state.reads() > 0 {
            return;
        }
        let why = self.tls.as_ref().and_then(|tls| tls.explain(error));
        if let Some(why) = why.filter(HandshakeError::turns_us_away) {
            let _ = self.io_state.refusal.set(why);
        }
    }
}

impl Drop for MemberIo {
    /// Ends what it did for the proof of its address while its socket is still its own: a closed
    /// one's number may belong to another connection at once.
    fn drop(&mut self) {
        *self.io_state.lock_proof() = Proof::Closed;
    }
}

impl Limit {
    fn new(allowed: Option<Duration>) -> Self {
        Self { allowed, timer: None, waiting: false }
    }

    /// Counts the waiting from now on if `written` went out: before that there was nothing to wait
    /// for.
    fn restart_after<T>(&mut self, written: &Poll<io::Result<T>>) {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.waiting = false;
        }
    }

    /// Passes on `polled`, or the timeout when it has been pending for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        what: &'static str,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let (Poll::Pending, Some(allowed)) = (&polled, self.allowed) else {
            self.waiting = false;
            return polled;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(allowed)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + allowed);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for MemberIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.io_state.reads.fetch_add(1, Relaxed);
        } else if let Poll::Ready(Err(error)) = &polled {
            self.note(error);
        }
        self.read.watch(cx, "nothing read within proxy-read-timeout", polled)
    }
}

impl AsyncWrite for MemberIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.read.restart_after(&polled);
        self.write.watch(cx, "nothing written within proxy-write-timeout", polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.read.restart_after(&polled);
        self.write.watch(cx, "nothing written within proxy-write-timeout", polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            // TLS may hold what it has taken; TCP never does.
            Poll::Pending => {
                self.write.watch(cx, "nothing written within proxy-write-timeout", Poll::Pending)
            }
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
