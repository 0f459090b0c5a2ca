//! A few HTTP/2 connections to one endpoint for one use.
//!
//! A worker endpoint has one pool for the unary calls of all clients. Each client connection that
//! opens long streams has pools of its own for those, so that a client which stops reading can only
//! hold up itself; they close with it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::connect_error::ConnectError;
use super::http2::{Connection, PoolKind};

/// Streams on one connection of unary calls from which on another connection is opened. h2 guards
/// all streams of a connection by one lock and one window, so very many on one connection slow each
/// other.
const UNARY_STREAMS: usize = 100;
/// Unary calls of one client at a time on connections that it shares with others; more get
/// connections of its own. What a client does not read is held, up to a stream's window for each:
/// this bounds its part of what all share.
pub const SHARED_CALLS: u32 = 32;
/// Connections for unary calls.
const UNARY_MOST: usize = 4;
/// Connections for the unary calls of one client that are beyond its share.
const SURPLUS_MOST: usize = 2;
/// Connections for the long streams of one client; more than one only if the member allows few
/// streams on each.
const STREAMS_MOST: usize = 64;

/// Makes the connections of a pool.
pub trait Connect {
    /// Counts how often new requests had to go over new connections.
    fn epoch(&self) -> u64;

    /// Makes a connection for this use.
    fn http2(&self, kind: PoolKind) -> impl Future<Output = Result<Rc<Connection>, ConnectError>>;
}

/// Connections to one endpoint for one use.
pub struct Pool {
    kind: PoolKind,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held while a connection is being made, so that a burst of calls makes one and not hundreds.
    making: tokio::sync::Mutex<()>,
    /// How many attempts have failed: who waited for one that failed does not try again itself.
    failed: Cell<u64>,
}

impl Pool {
    /// Makes a pool without connections.
    pub fn new(kind: PoolKind) -> Self {
        Self {
            kind,
            connections: RefCell::default(),
            making: tokio::sync::Mutex::new(()),
            failed: Cell::new(0),
        }
    }

    /// Returns a connection with room for one stream more, making one if needed.
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

    /// Makes a connection more, whatever there is.
    ///
    /// # Errors
    /// When the member cannot be reached.
    pub async fn add(&self, upstream: &impl Connect) -> Result<(), ConnectError> {
        let _making = self.making.lock().await;
        self.make(upstream).await.map(drop)
    }

    async fn make(&self, upstream: &impl Connect) -> Result<Rc<Connection>, ConnectError> {
        // Boxed, so that no call carries room for what is rare.
        let made = Box::pin(upstream.http2(self.kind)).await;
        match &made {
            Ok(connection) => self.connections.borrow_mut().push(connection.clone()),
            Err(_) => self.failed.set(self.failed.get() + 1),
        }
        made
    }

    /// The open connection with the fewest streams, unless another one should be made first. Those
    /// that were made before this epoch of the worker endpoint are let go of; each closes when its
    /// last stream ends.
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

    /// Whether no stream is open on any of its connections.
    pub fn is_idle(&self) -> bool {
        self.connections.borrow().iter().all(|connection| connection.streams() == 0)
    }

    /// Whether it has no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    /// Closes connections that are closed on the other side, or unused since before `limit`.
    pub fn sweep(&self, cx: &mut Context<'_>, limit: Instant) {
        self.connections.borrow_mut().retain(|connection| {
            connection.is_open(cx) && (connection.streams() > 0 || connection.last_used() >= limit)
        });
    }

    /// Lets go of all connections; each closes when its last stream ends.
    pub fn clear(&self) {
        self.connections.borrow_mut().clear();
    }
}
