//! Idle HTTP/1.1 connections, and the pool of them that one worker keeps for an endpoint.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::io::MemberIo;

/// Most idle connections kept for one endpoint by one worker; etcd's old proxy kept 128 for each
/// host.
const IDLE_MOST: usize = 128;

/// A connection without a request on it.
pub struct IdleConn {
    /// Boxed for its whole life, so that only a pointer moves with each request.
    pub(super) connection: Box<Connection>,
    since: Instant,
    kept: bool,
}

impl IdleConn {
    /// Begins HTTP/1.1 on a stream.
    pub fn new(io: MemberIo) -> Self {
        Self { connection: Box::new(Connection::new(io)), since: Instant::now(), kept: false }
    }

    /// Returns whether the member has neither closed it nor sent anything unasked.
    pub fn is_alive(&mut self) -> bool {
        self.connection.is_quiet()
    }

    /// Returns the epoch of its worker endpoint in which it was made.
    pub fn epoch(&self) -> u64 {
        self.connection.epoch()
    }

    /// Returns since when it has been idle.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Returns whether it has carried a request before, so that its member may be about to close
    /// it.
    pub fn was_kept(&self) -> bool {
        self.kept
    }
}

/// The idle connections of one worker to one endpoint.
pub struct IdlePool {
    endpoint: Arc<Endpoint>,
    /// Goes up whenever new requests must use new connections. Connections of an earlier epoch take
    /// no new requests.
    epoch: Cell<u64>,
    idle: RefCell<Vec<IdleConn>>,
    /// The time of the last sweep, which stands for the present: exact enough to find long idle
    /// connections, and it costs no system call.
    clock: Cell<Instant>,
}

impl IdlePool {
    /// Creates a pool without connections.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        let (epoch, clock) = (Cell::new(0), Cell::new(Instant::now()));
        Self { endpoint, epoch, idle: RefCell::default(), clock }
    }

    /// Returns the connection epoch, which goes up whenever new requests must use new connections.
    pub fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Makes new requests use new connections, and closes the idle ones.
    pub fn renew(&self) {
        self.epoch.set(self.epoch.get() + 1);
        self.clear();
    }

    /// Takes the connection that was used last, if any is alive.
    pub fn take(&self) -> Option<IdleConn> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            if idle.is_alive() {
                return Some(idle);
            }
        }
    }

    /// Takes back a connection whose exchange is complete. Closes it if it is of an earlier epoch,
    /// its endpoint is no longer listed, or the pool is full.
    pub(super) fn put(&self, connection: Box<Connection>) {
        let mut idle = self.idle.borrow_mut();
        let good = connection.epoch() == self.epoch.get() && self.endpoint.is_listed();
        if good && idle.len() < IDLE_MOST {
            idle.push(IdleConn { connection, since: self.clock.get(), kept: true });
        }
    }

    /// Closes connections that their member has closed, or that have been idle since before
    /// `limit`.
    pub fn sweep(&self, now: Instant, limit: Instant) {
        self.clock.set(now);
        self.idle.borrow_mut().retain_mut(|idle| idle.since() >= limit && idle.is_alive());
    }

    /// Returns whether no connection is idle.
    pub fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Closes all connections.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
