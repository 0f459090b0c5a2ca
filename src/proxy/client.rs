//! The state of one client connection: the member that serves it, and the connections to members
//! that it does not share.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use http::HeaderValue;

use super::slots::Slots;
use super::worker::Worker;
use crate::message::headers::ForwardingHeaders;
use crate::message::owed::Owed;
use crate::net::conn_limit::ConnPermit;
use crate::upstream::connect_error::ConnectError;
use crate::upstream::http1::ChunkBudget;
use crate::upstream::http2::{Connection, PoolKind};
use crate::upstream::http2_pool::{Pool, SHARED_CALLS};
use crate::upstream::worker_endpoint::{IDLE_LIMIT, WorkerEndpoint};

/// The state of one client connection, shared by its requests.
pub struct Client {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The client's address as sent in `X-Forwarded-For`; `None` for a client on a unix socket.
    pub address: Option<HeaderValue>,
    /// The listen address that it connected to, for the log.
    pub listener: Rc<str>,
    /// Whether its connection is under TLS.
    tls: bool,
    own: RefCell<Option<Rc<WorkerEndpoint>>>,
    /// Number of requests that have begun and not ended.
    in_flight: Cell<u32>,
    /// Whether a request has ever begun.
    has_asked: Cell<bool>,
    /// When the last request ended, or the connection was made.
    last_active: Cell<Instant>,
    /// Bytes of its requests that readonly holds for inspection.
    inspected: Cell<usize>,
    owed: Rc<Owed>,
    /// Budget for members' chunks that are held for it until they are whole.
    chunks: ChunkBudget,
    own_pools: RefCell<Vec<Rc<OwnPools>>>,
    /// The slots for its HTTP/1.1 exchanges with members.
    slots: Slots,
    /// Held until nothing of the client is left, including a WebSocket that has outlived its HTTP
    /// connection.
    permit: Option<ConnPermit>,
}

/// The connections to one endpoint that one client shares with no other.
struct OwnPools {
    upstream: Rc<WorkerEndpoint>,
    surplus: Pool,
    streams: Pool,
    bulk: Pool,
}

impl Client {
    /// Creates the state of a new client connection to `listener`.
    pub fn new(worker: Rc<Worker>, listener: Rc<str>, address: Option<IpAddr>) -> Self {
        let address =
            address.and_then(|ip| HeaderValue::try_from(ip.to_canonical().to_string()).ok());
        Self {
            worker,
            address,
            listener,
            tls: false,
            own: RefCell::default(),
            in_flight: Cell::new(0),
            has_asked: Cell::new(false),
            last_active: Cell::new(Instant::now()),
            inspected: Cell::new(0),
            owed: Owed::new(Instant::now()),
            chunks: ChunkBudget::default(),
            own_pools: RefCell::default(),
            slots: Slots::default(),
            permit: None,
        }
    }

    /// Attaches the client's permit, which is released when the client is dropped.
    #[must_use]
    pub fn with_permit(self, permit: ConnPermit) -> Self {
        Self { permit: Some(permit), ..self }
    }

    /// Returns the headers that are added to each of its requests.
    pub fn forwarding_headers(&self) -> ForwardingHeaders<'_> {
        ForwardingHeaders { forwarded_for: self.address.as_ref(), hop: Some(&self.worker.hop) }
    }

    /// Marks the connection as TLS.
    #[must_use]
    pub fn with_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// Returns whether its connection is under TLS.
    pub fn has_tls(&self) -> bool {
        self.tls
    }

    /// Returns its address for the log, or `unix socket`.
    pub fn address_text(&self) -> &str {
        let text = self.address.as_ref().and_then(|address| address.to_str().ok());
        text.unwrap_or("unix socket")
    }

    /// Returns the counter of the bytes of its requests that readonly holds for inspection.
    pub fn inspected(&self) -> &Cell<usize> {
        &self.inspected
    }

    /// Returns the budget for members' chunks that are held for it.
    pub fn chunk_budget(&self) -> &ChunkBudget {
        &self.chunks
    }

    /// Takes a slot for an HTTP/1.1 exchange with a member, if one is free.
    pub fn try_take_slot(&self, long: bool) -> bool {
        self.slots.try_take(long, self.permit.as_ref())
    }

    /// Waits for a slot for an exchange that is not long, and takes it.
    pub async fn wait_for_slot(&self) {
        self.slots.wait(self.permit.as_ref()).await;
    }

    /// Gives a slot back.
    pub fn release_slot(&self, long: bool) {
        self.slots.release(long, self.permit.as_ref());
    }

    /// Counts a request that begins.
    pub fn begin(&self) {
        self.has_asked.set(true);
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// Counts a request that has ended, now.
    pub fn end(&self, now: Instant) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.last_active.set(now);
    }

    /// Counts a request that is answered without a member, until the returned guard is dropped.
    pub fn asking(&self) -> Asking<'_> {
        self.begin();
        Asking(self)
    }

    /// Returns when its last request ended, or when it connected if there was none; `None` while a
    /// request is open.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.in_flight.get() == 0).then(|| self.last_active.get())
    }

    /// Returns the record of request bodies of which it still owes a part.
    pub fn owed(&self) -> &Rc<Owed> {
        &self.owed
    }

    /// Returns since when all its open requests have waited for the next piece of their bodies;
    /// `None` unless all of them do.
    pub fn owes_since(&self) -> Option<Instant> {
        let bodies = self.owed.bodies();
        (bodies > 0 && bodies >= self.in_flight.get())
            .then(|| self.owed.since().max(self.last_active.get()))
    }

    /// Returns whether the client has ever sent a whole request head.
    pub fn has_asked(&self) -> bool {
        self.has_asked.get()
    }

    /// Returns the endpoint that served this client last.
    pub fn own_upstream(&self) -> Option<Rc<WorkerEndpoint>> {
        self.own.borrow().clone()
    }

    /// Records the endpoint that serves this client.
    pub fn keep_upstream(&self, upstream: &Rc<WorkerEndpoint>) {
        let mut own = self.own.borrow_mut();
        if !own.as_ref().is_some_and(|own| Rc::ptr_eq(own, upstream)) {
            *own = Some(upstream.clone());
        }
    }

    /// Returns a connection to `upstream`'s endpoint for a call of this client.
    ///
    /// Unary calls share the worker's connections while the client has at most [`SHARED_CALLS`]
    /// requests open; further ones, long streams and bulk transfers get connections of this client
    /// alone.
    ///
    /// # Errors
    /// When the member cannot be reached; nothing was sent then.
    pub async fn connection(
        &self,
        upstream: &Rc<WorkerEndpoint>,
        pool_kind: PoolKind,
    ) -> Result<Rc<Connection>, ConnectError> {
        match pool_kind {
            PoolKind::Unary if self.in_flight.get() > SHARED_CALLS => {
                self.pools(upstream).surplus.take(&**upstream).await
            }
            PoolKind::Unary | PoolKind::Surplus => upstream.unary().take(&**upstream).await,
            PoolKind::Streams => self.pools(upstream).streams.take(&**upstream).await,
            PoolKind::Bulk => self.pools(upstream).bulk.take(&**upstream).await,
        }
    }

    /// Closes its own connections that have been idle for longer than [`IDLE_LIMIT`].
    pub fn sweep(&self, now: Instant) {
        let cx = &mut Context::from_waker(Waker::noop());
        let limit = now.checked_sub(IDLE_LIMIT).unwrap_or(now);
        self.own_pools.borrow_mut().retain(|own| {
            own.pools().into_iter().for_each(|pool| pool.sweep(cx, limit));
            // A second reference belongs to a call that waits for its connection.
            Rc::strong_count(own) > 1 || !own.pools().into_iter().all(Pool::is_empty)
        });
    }

    fn pools(&self, upstream: &Rc<WorkerEndpoint>) -> Rc<OwnPools> {
        let mut pools = self.own_pools.borrow_mut();
        if let Some(own) = pools.iter().find(|own| Rc::ptr_eq(&own.upstream, upstream)) {
            return own.clone();
        }
        pools.retain(|own| own.upstream.endpoint.is_listed() || !own.is_idle());
        let own = OwnPools {
            upstream: upstream.clone(),
            surplus: Pool::new(PoolKind::Surplus),
            streams: Pool::new(PoolKind::Streams),
            bulk: Pool::new(PoolKind::Bulk),
        };
        let own = Rc::new(own);
        pools.push(own.clone());
        own
    }
}

/// Guard that counts a request that is answered without a member.
pub struct Asking<'a>(&'a Client);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.end(Instant::now());
    }
}

impl OwnPools {
    fn is_idle(&self) -> bool {
        self.pools().into_iter().all(Pool::is_idle)
    }

    fn pools(&self) -> [&Pool; 3] {
        [&self.surplus, &self.streams, &self.bulk]
    }
}
