//! Connections without a request: one, and those that one worker keeps for an endpoint.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::io::MemberIo;

/// Idle HTTP/1.1 connections kept for one endpoint and worker; etcd's old proxy kept 128 for each
/// host.
const IDLE_MOST: usize = 128;

/// A connection without a request on it.
pub struct IdleConn {
    /// In a box for its whole life: what goes from hand to hand with each request is a pointer.
    pub(super) connection: Box<Connection>,
    since: Instant,
    kept: bool,
}

impl IdleConn {
    /// Speaks HTTP/1.1 over a stream.
    pub fn new(io: MemberIo) -> Self {
        Self { connection: Box::new(Connection::new(io)), since: Instant::now(), kept: false }
    }

    /// Whether the member has neither closed it nor said anything unasked.
    pub fn is_alive(&mut self) -> bool {
        self.connection.is_quiet()
    }

    /// Under which of its worker endpoint's connectors it was made.
    pub fn epoch(&self) -> u64 {
        self.connection.epoch()
    }

    /// Since when it has been idle.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether it has carried a request before, so that its member may be about to close it.
    pub fn was_kept(&self) -> bool {
        self.kept
    }
}

/// The idle connections of one worker to one endpoint.
pub struct IdlePool {
    endpoint: Arc<Endpoint>,
    /// How often connections had to be made anew. What was made under an earlier count serves no
    /// new request.
    epoch: Cell<u64>,
    idle: RefCell<Vec<IdleConn>>,
    /// The time of the last sweep: exact enough to tell what has been idle for long, and free.
    clock: Cell<Instant>,
}

impl IdlePool {
    /// Makes a pool without connections.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        let (epoch, clock) = (Cell::new(0), Cell::new(Instant::now()));
        Self { endpoint, epoch, idle: RefCell::default(), clock }
    }

    /// Counts how often new requests had to go over new connections.
    pub fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Has new requests go over new connections.
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

    /// Takes back a connection whose exchange is complete.
    pub(super) fn put(&self, connection: Box<Connection>) {
        let mut idle = self.idle.borrow_mut();
        let good = connection.epoch() == self.epoch.get() && self.endpoint.is_listed();
        if good && idle.len() < IDLE_MOST {
            idle.push(IdleConn { connection, since: self.clock.get(), kept: true });
        }
    }

    /// Closes connections that their member has closed, or that were not used since `limit`.
    pub fn sweep(&self, now: Instant, limit: Instant) {
        self.clock.set(now);
        self.idle.borrow_mut().retain_mut(|idle| idle.since() >= limit && idle.is_alive());
    }

    /// Closes all connections.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }
}
