//! A few HTTP/2 connections to one endpoint for one kind of call.
//!
//! A worker endpoint has one pool for the unary calls of all clients. Each client connection that
//! opens long streams has its own pools for those, which close with it. So a client that stops
//! reading can only hold up itself.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::connect_error::ConnectError;
use super::http2::{Connection, PoolKind};

/// Once every connection has this many unary streams, another one is opened. h2 guards all streams
/// of a connection by one lock and one window, so very many streams on one connection slow each
/// other down.
const UNARY_STREAMS: usize = 100;
/// Unary calls that one client may have open at a time on connections shared with others; further
/// ones get connections of the client's own. Up to a stream's window is held for each call that the
/// client does not read, so this bounds its part of the shared connection window.
pub const SHARED_CALLS: u32 = 32;
/// Most connections for the unary calls of all clients.
const UNARY_MOST: usize = 4;
/// Most connections for the unary calls of one client beyond its share.
const SURPLUS_MOST: usize = 2;
/// Most connections for the long streams of one client; more than one is made only if the member
/// allows few streams on each.
const STREAMS_MOST: usize = 64;

/// Makes the connections of a pool.
pub trait Connect {
    /// Returns the connection epoch: see
    /// [`WorkerEndpoint::epoch`](super::worker_endpoint::WorkerEndpoint::epoch).
    fn epoch(&self) -> u64;

    /// Makes a connection for calls of this kind.
    fn http2(&self, kind: PoolKind) -> impl Future<Output = Result<Rc<Connection>, ConnectError>>;
}

/// Connections to one endpoint for one kind of call.
pub struct Pool {
    kind: PoolKind,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held while a connection is being made, so that a burst of calls makes one connection and not
    /// hundreds.
    making: tokio::sync::Mutex<()>,
    /// How many attempts have failed: a call that waited for one that failed does not try again
    /// itself.
    failed: Cell<u64>,
}

impl Pool {
    /// Creates a pool without connections.
    pub fn new(kind: PoolKind) -> Self {
        Self {
            kind,
            connections: RefCell::default(),
            making: tokio::sync::Mutex::new(()),
            failed: Cell::new(0),
        }
    }

    /// Returns a connection with room for one more stream, making one if needed.
    ///
    /// # Errors
    /// When the member cannot be reached; nothing was sent then.
    pub async fn take(&self, upstream: &impl Connect) -> Result<Rc<Connection>, ConnectError> {
        if let Some(connection) = poll_fn(|cx| Poll::Ready(self.find(cx, upstream.epoch()))).await {
            return Ok(connection);
        }
        let failed = self.failed.get();
        let _making = self.making.lock().await;
        if let Some(connection) = poll_fn(|cx| Poll::Ready(self.find(cx, upstream.epoch()))).await {
            return Ok(connection);
        }
        if self.failed.get() != failed {
            return Err(ConnectError::after_another());
        }
        self.make(upstream).await
    }

    /// Adds a connection, however many there are.
    ///
    /// # Errors
    /// When the member cannot be reached.
    pub async fn add(&self, upstream: &impl Connect) -> Result<(), ConnectError> {
        let _making = self.making.lock().await;
        self.make(upstream).await.map(drop)
    }

    async fn make(&self, upstream: &impl Connect) -> Result<Rc<Connection>, ConnectError> {
        // Boxed to keep every call's future small: connecting is rare.
        let made = Box::pin(upstream.http2(self.kind)).await;
        match &made {
            Ok(connection) => self.connections.borrow_mut().push(connection.clone()),
            Err(_) => self.failed.set(self.failed.get() + 1),
        }
        made
    }

    /// Returns the open connection with the fewest streams, unless another one should be made
    /// first. Drops connections of earlier epochs of the worker endpoint; each closes when its last
    /// stream ends.
    fn find(&self, cx: &mut Context<'_>, epoch: u64) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.epoch() == epoch && connection.is_open(cx));
        let best = connections.iter().min_by_key(|connection| connection.streams())?;
        let (each, most) = match self.kind {
            PoolKind::Unary => (UNARY_STREAMS, UNARY_MOST),
            PoolKind::Surplus => (UNARY_STREAMS, SURPLUS_MOST),
            PoolKind::Streams | PoolKind::Bulk => (usize::MAX, STREAMS_MOST),
        };
        let capacity = best.capacity();
        best.set_full(best.streams() >= capacity);
        let room = best.streams() < each.min(capacity);
        (room || connections.len() >= most).then(|| best.clone())
    }

    /// Returns whether no stream is open on any of its connections.
    pub fn is_idle(&self) -> bool {
        self.connections.borrow().iter().all(|connection| connection.streams() == 0)
    }

    /// Returns whether it has no connections.
    pub fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    /// Drops connections that the other side has closed, or that have carried no stream since
    /// `limit`.
    pub fn sweep(&self, cx: &mut Context<'_>, limit: Instant) {
        self.connections.borrow_mut().retain(|connection| {
            connection.is_open(cx) && (connection.streams() > 0 || connection.last_used() >= limit)
        });
    }

    /// Drops all connections; each closes when its last stream ends.
    pub fn clear(&self) {
        self.connections.borrow_mut().clear();
    }
}
