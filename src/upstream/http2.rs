//! HTTP/2 connections to a member, on the `h2` crate itself.
//!
//! hyper's client would spawn two tasks for each call, and hides the limits that decide whether one
//! client can harm another. Three of those limits are set deliberately here (h2 0.4.20,
//! `proto/streams/counts.rs`):
//!
//! - The window of a *stream* is the most that is held for a client that does not read, apart from
//!   what [`ResponseBody::hold`] has taken out of it.
//! - The window of the *connection* is so large that the streams which one client may have there
//!   cannot fill it and starve the rest.
//! - The budget for small unread DATA frames, which ends the whole connection when it is spent, is
//!   off: the stream windows bound the same memory, stream by stream, without ending anybody
//!   else's.
//!
//! PINGs are sent only while streams are open and at most every [`PING_EVERY`]: members count pings
//! that come sooner than five seconds apart, or on idle connections, and end the connection
//! (grpc-go `http2_server.go`, handlePing).

mod ping;
mod response_body;
mod stall;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::Body;

use self::ping::Pings;
pub use self::response_body::{Part, ResponseBody};
pub use self::stall::was_stuck;
use self::stall::{Movement, Stall};
use super::io::{MemberIo, MemberIoState};
use crate::message::replay_body::ReplayBody;
use crate::net::abort_on_drop::AbortOnDrop;
use crate::tls::HandshakeError;

/// Pause between two PINGs on a connection with open streams.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// How long a PING may stay unanswered, with nothing else read, before the connection is given up.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest header list accepted of a member, in bytes. etcd's headers are small; even tokens and
/// long error texts are far below this.
const MAX_HEADER_LIST: u32 = 1024 * 1024;
/// Most bytes of a request that are held while the member does not read it.
const MAX_SEND_BUFFER: usize = 256 * 1024;
/// How many streams that we reset h2 remembers, so that late frames for them do no harm: 500
/// watches may end at once.
const RESET_STREAMS: usize = 4096;

/// The kind of calls that a connection carries, which decides its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// Unary calls of all clients.
    Unary,
    /// Unary calls of one client, beyond its share of the common connections.
    Surplus,
    /// Long streams of small messages of one client: Watch, LeaseKeepAlive, Observe.
    Streams,
    /// Large transfers of one client: Snapshot, RangeStream.
    Bulk,
}

impl PoolKind {
    /// Returns how many bytes the member may send on one stream before the client has read any.
    fn stream_window(self) -> u32 {
        match self {
            Self::Unary => 1 << 20,
            Self::Surplus => 256 << 10,
            Self::Streams => 64 << 10,
            Self::Bulk => 4 << 20,
        }
    }

    /// Returns how many bytes may be held for all streams of a connection. One client must not fill
    /// the window that all clients share: it has at most
    /// [`SHARED_CALLS`](super::http2_pool::SHARED_CALLS) calls there. The window of one client's
    /// own connection bounds what that client can make us hold.
    fn connection_window(self) -> u32 {
        match self {
            Self::Unary => 1 << 30,
            Self::Streams => 128 << 20,
            Self::Surplus | Self::Bulk => 64 << 20,
        }
    }
}

/// An open connection to a member.
pub struct Connection {
    /// The first field, so that the task is aborted before the handles are dropped.
    _driver: AbortOnDrop,
    sender: SendRequest<Bytes>,
    streams: Rc<Cell<usize>>,
    closed: Cell<bool>,
    last_used: Cell<Instant>,
    movement: Movement,
    epoch: u64,
    io_state: Arc<MemberIoState>,
    /// Never `None` in practice: h2 gives out the handle on the first call.
    pings: Option<Rc<Pings>>,
}

/// Begins HTTP/2 on a stream, and drives the connection in a task of its own until it is closed or
/// dropped.
///
/// # Errors
/// When the preface cannot be written.
pub async fn handshake(io: MemberIo, kind: PoolKind) -> Result<Rc<Connection>, h2::Error> {
    let (io_state, epoch) = (io.state(), io.epoch());
    let (sender, mut connection) = client::Builder::new()
        .initial_window_size(kind.stream_window())
        .initial_connection_window_size(kind.connection_window())
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(None)
        .data_frame_budget(usize::MAX >> 1)
        .enable_push(false)
        .handshake::<_, Bytes>(io)
        .await?;
    let pings = connection.ping_pong().map(Pings::new).map(Rc::new);
    Ok(Rc::new_cyclic(|weak: &std::rc::Weak<Connection>| {
        let watched = weak.clone();
        let streams = Rc::new(Cell::new(0));
        let counted = streams.clone();
        let seen = io_state.clone();
        let sent = pings.clone();
        let driver = tokio::task::spawn_local(async move {
            let reason = drive(connection, &counted, &seen, sent.as_deref()).await;
            if let Some(connection) = watched.upgrade() {
                connection.closed.set(true);
            }
            tracing::debug!(reason, "connection to a member ended");
        });
        Connection {
            _driver: AbortOnDrop(driver.abort_handle()),
            sender,
            streams,
            closed: Cell::new(false),
            last_used: Cell::new(Instant::now()),
            movement: Movement::default(),
            epoch,
            io_state,
            pings,
        }
    }))
}

/// Drives a connection until it ends, and sends PINGs while streams are open. Returns why it ended.
async fn drive(
    mut connection: client::Connection<MemberIo, Bytes>,
    streams: &Cell<usize>,
    io_state: &MemberIoState,
    pings: Option<&Pings>,
) -> String {
    let Some(pings) = pings else { return "no ping handle".into() };
    let mut timer = Box::pin(tokio::time::sleep(PING_EVERY));
    let mut reads_then = 0;
    poll_fn(|cx| {
        if let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(end.map_or_else(|error| error.to_string(), |()| "closed".into()));
        }
        if pings.poll_answer(cx).is_ready() {
            timer.as_mut().reset(tokio::time::Instant::now() + PING_EVERY);
        }
        while timer.as_mut().poll(cx).is_ready() {
            let reads_now = io_state.reads();
            let pause = match pings.unanswered() {
                Some(waited) if waited < PING_TIMEOUT => PING_TIMEOUT - waited,
                Some(_) if reads_now == reads_then => {
                    return Poll::Ready("no answer to a ping".into());
                }
                // The answer may be queued behind much data on a slow line; that data is a sign of
                // life as well.
                Some(_) => PING_TIMEOUT,
                None if streams.get() > 0 && pings.send() => {
                    // Registers the waker for the answer, then lets the connection write the PING.
                    let _ = pings.poll_answer(cx);
                    cx.waker().wake_by_ref();
                    PING_TIMEOUT
                }
                None => PING_EVERY,
            };
            reads_then = reads_now;
            timer.as_mut().reset(tokio::time::Instant::now() + pause);
        }
        Poll::Pending
    })
    .await
}

impl Connection {
    /// Returns how many streams are open on it.
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Returns when a stream on it last ended.
    pub fn last_used(&self) -> Instant {
        self.last_used.get()
    }

    /// Returns the epoch of its worker endpoint in which it was made.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns why the member has refused us in TLS, if it has: see [`MemberIoState::refusal`].
    pub fn refusal(&self) -> Option<&HandshakeError> {
        self.io_state.refusal()
    }

    /// Returns how many reads brought data.
    pub fn reads(&self) -> u64 {
        self.io_state.reads()
    }

    /// Sends a PING now, unless one is unanswered or the last was sent too recently for members to
    /// accept another.
    pub fn ping(&self) {
        if let Some(pings) = &self.pings {
            pings.send();
        }
    }

    /// Returns how long a PING has been waiting for its answer; `None` when none is.
    pub fn unanswered_ping(&self) -> Option<Duration> {
        self.pings.as_ref().and_then(|pings| pings.unanswered())
    }

    /// Returns whether the member has not sent anything yet.
    pub fn is_mute(&self) -> bool {
        self.io_state.reads() == 0
    }

    /// Returns true on the first call only, so that a stuck connection is reported once.
    pub fn report_stuck(&self) -> bool {
        self.movement.report()
    }

    /// Sets whether the next stream must wait for another one to end.
    pub fn set_full(&self, is_full: bool) {
        self.movement.set_full(is_full);
    }

    /// Returns how many streams the member allows at a time.
    pub fn capacity(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// Returns whether a new stream may be opened on it: it is neither closed nor stuck, and the
    /// member has not sent GOAWAY.
    pub fn is_open(&self, cx: &mut Context<'_>) -> bool {
        // `poll_ready` fails at once after a GOAWAY; pending only means that this handle waits for
        // a free stream.
        !self.closed.get()
            && !self.movement.is_stuck()
            && !matches!(self.sender.clone().poll_ready(cx), Poll::Ready(Err(_)))
    }

    /// Waits until a stream can be opened, and returns true; false once the connection is closed or
    /// the member has sent GOAWAY.
    pub async fn is_ready(&self) -> bool {
        self.sender.clone().ready().await.is_ok()
    }

    /// Opens a stream, sends the head and the body, and waits for the head of the response.
    ///
    /// Cancelling resets the stream with CANCEL.
    ///
    /// # Errors
    /// h2's; [`was_refused`] tells whether the member certainly has not acted on the request.
    pub async fn send(
        self: &Rc<Self>,
        head: Request<()>,
        body: ReplayBody,
    ) -> Result<Response<Box<ResponseBody>>, h2::Error> {
        let mut sender = self.sender.clone();
        let (response, stream) = sender.send_request(head, body.is_end_stream())?;
        let queued = self.movement.is_full().then(|| Box::new(sender));
        let guard = StreamGuard::new(self.clone());
        let mut pending = PendingResponse {
            response,
            upload: Upload::new(body, stream),
            queued,
            stall: None,
            waits: false,
        };
        let response = poll_fn(|cx| pending.poll(cx, &self.movement)).await?;
        let upload = pending.upload.go_on();
        Ok(response.map(|receive| ResponseBody::new(receive, upload, guard)))
    }
}

/// Returns whether the member certainly has not processed the request: the stream was refused, or
/// is above the last one that a GOAWAY promised to finish (RFC 9113 sections 6.8 and 8.7).
pub fn was_refused(error: &h2::Error) -> bool {
    (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
        || (error.is_go_away() && error.is_remote())
}

/// Returns whether we reset the stream ourselves. Before the answer is passed on, that happens only
/// when the client broke off its request.
pub fn was_reset_by_us(error: &h2::Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}

/// Counts a stream as open until it is dropped.
struct StreamGuard(Rc<Connection>);

impl StreamGuard {
    fn new(connection: Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self(connection)
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.last_used.set(Instant::now());
        self.0.movement.step();
    }
}

/// A request under way, until the head of its response has arrived.
struct PendingResponse {
    response: ResponseFuture,
    upload: Upload,
    /// The handle that tells when the stream is opened, if it had to wait for that; rare, so boxed.
    queued: Option<Box<SendRequest<Bytes>>>,
    /// Set while the request cannot be sent; rare too.
    stall: Option<Box<Stall>>,
    /// Whether an earlier poll found that the request could not be sent.
    waits: bool,
}

impl PendingResponse {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        movement: &Movement,
    ) -> Poll<Result<Response<RecvStream>, h2::Error>> {
        let pieces_before = self.upload.pieces;
        // A failed upload also fails the response, which has the better reason.
        let _ = self.upload.poll(cx);
        if self.stall.is_some() && self.upload.pieces != pieces_before {
            // The upload may already wait again, if the client is faster than the member; it has
            // moved all the same.
            movement.step();
        }
        if let Poll::Ready(response) = Pin::new(&mut self.response).poll(cx) {
            return Poll::Ready(response);
        }
        if self.queued.is_some() || self.upload.waits_for_window || self.stall.is_some() {
            return self.poll_stalled(cx, movement).map(Err);
        }
        Poll::Pending
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>, movement: &Movement) -> Poll<h2::Error> {
        if let Some(sender) = &mut self.queued
            && sender.poll_ready(cx).is_ready()
        {
            self.queued = None;
            movement.step();
        }
        if self.queued.is_none() && !self.upload.waits_for_window {
            if self.stall.take().is_some() {
                movement.step();
            }
            return Poll::Pending;
        }
        if !std::mem::replace(&mut self.waits, true) {
            // A new stream has no window until the connection's task has opened it, which it does
            // next.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_begun = self.queued.is_none() && self.upload.pieces > 0;
        let stall = self.stall.get_or_insert_with(|| Box::new(Stall::begin(movement)));
        stall.poll(cx, movement, is_begun)
    }
}

/// Forwards a client's body to the member, as fast as the member takes it.
struct Upload {
    body: ReplayBody,
    /// `None` once the end was sent, or the stream is gone.
    stream: Option<SendStream<Bytes>>,
    /// Whether the member's window keeps it from going on.
    waits_for_window: bool,
    /// How many non-empty pieces were handed to h2.
    pieces: u64,
}

impl Upload {
    fn new(body: ReplayBody, stream: SendStream<Bytes>) -> Self {
        let ended = body.is_end_stream();
        let stream = (!ended).then_some(stream);
        Self { body, stream, waits_for_window: false, pieces: 0 }
    }

    /// Moves an unfinished upload to a task of its own: the client may go on sending while it
    /// reads, and the two directions must not wait for each other.
    fn go_on(mut self) -> Option<AbortOnDrop> {
        self.stream.as_ref()?;
        let task = tokio::task::spawn_local(async move { poll_fn(|cx| self.poll(cx)).await });
        Some(AbortOnDrop(task.abort_handle()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(stream) = &mut self.stream {
            if stream.capacity() == 0 {
                stream.reserve_capacity(1);
                let capacity = stream.poll_capacity(cx);
                self.waits_for_window = capacity.is_pending();
                match ready!(capacity) {
                    Some(Ok(0)) => continue,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return self.finish(),
                }
            } else {
                self.waits_for_window = false;
                if stream.poll_reset(cx).is_ready() {
                    return self.finish();
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_data() => {
                    let data = frame.into_data().unwrap_or_default();
                    let last = self.body.is_end_stream();
                    self.pieces += u64::from(!data.is_empty());
                    if stream.send_data(data, last).is_err() || last {
                        return self.finish();
                    }
                }
                Some(Ok(frame)) => {
                    let _ = stream.send_trailers(frame.into_trailers().unwrap_or_default());
                    return self.finish();
                }
                Some(Err(_)) => {
                    // The client reset its stream, so reset ours.
                    stream.send_reset(Reason::CANCEL);
                    return self.finish();
                }
                None => {
                    let _ = stream.send_data(Bytes::new(), true);
                    return self.finish();
                }
            }
        }
        Poll::Ready(())
    }

    fn finish(&mut self) -> Poll<()> {
        self.waits_for_window = false;
        self.stream = None;
        Poll::Ready(())
    }
}
