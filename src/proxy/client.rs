//! What is remembered of a client for as long as its connection lasts: its member, and the
//! connections to members that are its own.

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

/// One client connection.
pub struct Client {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// Its address as `X-Forwarded-For` has it; `None` for a client on a unix socket.
    pub address: Option<HeaderValue>,
    /// The address that it has connected to, for the log.
    pub listener: Rc<str>,
    /// Whether its connection is under TLS.
    tls: bool,
    own: RefCell<Option<Rc<WorkerEndpoint>>>,
    /// Requests that have begun and not ended.
    in_flight: Cell<u32>,
    /// Whether a request has ever begun.
    has_asked: Cell<bool>,
    /// When the last request ended, or the connection was made.
    last_active: Cell<Instant>,
    /// Bytes of its requests that are held to be inspected.
    inspected: Cell<usize>,
    owed: Rc<Owed>,
    /// Bytes of members' chunks that are held for it.
    chunks: ChunkBudget,
    own_pools: RefCell<Vec<Rc<OwnPools>>>,
    /// Its exchanges with members over HTTP/1.1.
    slots: Slots,
    /// Held until nothing is left of it, a WebSocket that has outlived its HTTP included.
    permit: Option<ConnPermit>,
}

/// The connections to one endpoint that one client has for itself.
struct OwnPools {
    upstream: Rc<WorkerEndpoint>,
    surplus: Pool,
    streams: Pool,
    bulk: Pool,
}

impl Client {
    /// Makes the state of a new client connection to `listener`.
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

    /// Gives it its permit, which is released when the client is dropped.
    #[must_use]
    pub fn with_permit(self, permit: ConnPermit) -> Self {
        Self { permit: Some(permit), ..self }
    }

    /// What we add to each of its requests.
    pub fn forwarding_headers(&self) -> ForwardingHeaders<'_> {
        ForwardingHeaders { forwarded_for: self.address.as_ref(), hop: Some(&self.worker.hop) }
    }

    /// Says that its connection is under TLS.
    #[must_use]
    pub fn with_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// Whether its connection is under TLS.
    pub fn has_tls(&self) -> bool {
        self.tls
    }

    /// Its address for the log.
    pub fn address_text(&self) -> &str {
        let text = self.address.as_ref().and_then(|address| address.to_str().ok());
        text.unwrap_or("unix socket")
    }

    /// Bytes of this client's requests that are held to inspect them.
    pub fn inspected(&self) -> &Cell<usize> {
        &self.inspected
    }

    /// Returns what counts the chunks that are held for it.
    pub fn chunk_budget(&self) -> &ChunkBudget {
        &self.chunks
    }

    /// Takes a slot for an exchange over HTTP/1.1 with a member, if there is one.
    pub fn try_take_slot(&self, long: bool) -> bool {
        self.slots.try_take(long, self.permit.as_ref())
    }

    /// Waits for a slot of an exchange that is not long, and takes it.
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

    /// Counts a request that is answered without a member, until what this returns is dropped.
    pub fn asking(&self) -> Asking<'_> {
        self.begin();
        Asking(self)
    }

    /// Since when the client has had no request open; `None` while it has.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.in_flight.get() == 0).then(|| self.last_active.get())
    }

    /// What it owes of the bodies of its requests.
    pub fn owed(&self) -> &Rc<Owed> {
        &self.owed
    }

    /// Since when all requests that are open wait for the next piece of their bodies, and none has
    /// come.
    pub fn owes_since(&self) -> Option<Instant> {
        let bodies = self.owed.bodies();
        (bodies > 0 && bodies >= self.in_flight.get())
            .then(|| self.owed.since().max(self.last_active.get()))
    }

    /// Whether the client has ever sent a whole request head.
    pub fn has_asked(&self) -> bool {
        self.has_asked.get()
    }

    /// The worker endpoint that this client was served by last.
    pub fn own_upstream(&self) -> Option<Rc<WorkerEndpoint>> {
        self.own.borrow().clone()
    }

    /// Notes the worker endpoint that serves this client.
    pub fn keep_upstream(&self, upstream: &Rc<WorkerEndpoint>) {
        let mut own = self.own.borrow_mut();
        if !own.as_ref().is_some_and(|own| Rc::ptr_eq(own, upstream)) {
            *own = Some(upstream.clone());
        }
    }

    /// Returns a connection to `upstream`'s endpoint for a call of this client.
    ///
    /// Unary calls share the worker's connections, as long as the client has no more than a fair
    /// number of them; long streams get connections of this client alone.
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

    /// Closes connections of its own that it has not used for long.
    pub fn sweep(&self, now: Instant) {
        let cx = &mut Context::from_waker(Waker::noop());
        let limit = now.checked_sub(IDLE_LIMIT).unwrap_or(now);
        self.own_pools.borrow_mut().retain(|own| {
            own.pools().into_iter().for_each(|pool| pool.sweep(cx, limit));
            // Another owner is a call that waits for its connection.
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

/// A request that is answered without a member.
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
