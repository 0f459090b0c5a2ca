//! A connection to a member, with the limits of `proxy-read-timeout` and `proxy-write-timeout`.
//!
//! As in etcd's old proxy, each limit applies to a single read or write and not to a whole request:
//! within it the kernel must accept a write, and a read must bring a byte. A timer is armed only
//! when the kernel makes us wait.

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

/// A stream to a member, with a time limit for each read and each write.
#[derive(Debug)]
pub struct MemberIo {
    stream: MaybeTlsStream,
    /// The connector that made the TLS stream, which can explain its errors; `None` for plaintext.
    tls: Option<Connector>,
    epoch: u64,
    io_state: Arc<MemberIoState>,
    read: Limit,
    write: Limit,
}

/// What is known of a connection besides its bytes; shared with the requests that wait on it.
#[derive(Debug)]
pub struct MemberIoState {
    reads: AtomicU64,
    refusal: OnceLock<HandshakeError>,
    address: SocketAddr,
    socket: RawFd,
    proof: Mutex<Proof>,
}

/// A connection's part in the proof of its address.
#[derive(Debug)]
enum Proof {
    /// None yet.
    None,
    /// It keeps the proof.
    Kept { _by: Witness },
    /// None any more: the connection is closed.
    Closed,
}

impl MemberIoState {
    /// Returns the address that was connected to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the connection keep the proof of its address until it is closed. `witness` makes the
    /// [`Witness`] for its socket; it is not called if there is one already, or the connection is
    /// closed. Returns whether the connection is open.
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

    /// Returns how many reads brought data.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// Returns why the member has turned us away, if it has. In TLS 1.3 a member refuses our
    /// certificate only in answer to our first bytes, and has then acted on none of them. No other
    /// TLS error proves that: a damaged record may be the answer to a request that was carried out.
    pub fn refusal(&self) -> Option<&HandshakeError> {
        self.refusal.get()
    }
}

/// A limit on how long one operation may be pending; `None` allows it for ever.
#[derive(Debug)]
struct Limit {
    allowed: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl MemberIo {
    /// Puts limits on `stream`; `None` means no limit. If `tls` is given, `stream` is TLS and was
    /// made by it.
    ///
    /// # Errors
    /// The kernel's, when the connection is already closed.
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

    /// Sets the epoch of its worker endpoint in which it was made: see
    /// [`WorkerEndpoint::epoch`](super::worker_endpoint::WorkerEndpoint::epoch).
    #[must_use]
    pub fn of_epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// Returns the epoch of its worker endpoint in which it was made.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns its state, which stays readable after the stream is given away.
    pub fn state(&self) -> Arc<MemberIoState> {
        self.io_state.clone()
    }

    /// Returns whether it uses TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    fn note(&self, error: &io::Error) {
        // A member that has answered in TLS has accepted us.
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
    /// Drops its witness before the socket is closed: the number of a closed socket may belong to
    /// another connection at once.
    fn drop(&mut self) {
        *self.io_state.lock_proof() = Proof::Closed;
    }
}

impl Limit {
    fn new(allowed: Option<Duration>) -> Self {
        Self { allowed, timer: None, waiting: false }
    }

    /// Restarts the limit if `written` went out: before that there was no answer to wait for.
    fn restart_after<T>(&mut self, written: &Poll<io::Result<T>>) {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.waiting = false;
        }
    }

    /// Returns `polled`, or a timeout error once it has been pending for too long.
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
            // TLS may buffer what it has accepted; TCP never does.
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
