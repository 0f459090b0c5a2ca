//! One worker's view of an endpoint: its own connections, and the signal that interrupts requests
//! waiting on them.
//!
//! A worker endpoint belongs to one thread and is shared there by `Rc`; nothing in it locks. It
//! lives while its endpoint is listed, and after that while exchanges are open on it.

mod prove;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::activity::Counted;
use super::connect_error::{ConnectError, Kind};
use super::endpoint::Endpoint;
use super::http1::idle::{IdleConn, IdlePool};
use super::http2::{Connection, PoolKind};
use super::http2_pool::{Connect, Pool};
use super::io::MemberIo;
use super::on_demand::demand::OnDemand;
use crate::net::coalesce::CoalescingWriter;
use crate::net::dial::{self, Authority, NamedBy};
use crate::net::maybe_tls::MaybeTlsStream;
use crate::tls::{Alpn, Connector};

/// How long a connection may be idle before the sweep closes it.
pub const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// Limit of a TLS handshake when `proxy-dial-timeout` is off; etcd uses the same. Then also the
/// limit of connecting to an endpoint that has not proved its cluster: other requests wait for it.
const HANDSHAKE_MOST: Duration = Duration::from_secs(10);

/// A second connection on which nothing can be sent within this time counts against the member.
const STUCK_AGAIN: Duration = Duration::from_secs(60);

/// Limits of connections to members, each `None` for no limit, and whether a proof is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// `proxy-dial-timeout`.
    pub dial: Option<Duration>,
    /// `proxy-read-timeout`.
    pub read: Option<Duration>,
    /// `proxy-write-timeout`.
    pub write: Option<Duration>,
    /// `health-timeout`: how long an address may take to prove that it belongs to the cluster.
    pub proof: Duration,
    /// `require-cluster-proof`: whether an address that answers without a cluster ID gets no
    /// requests.
    pub proof_required: bool,
}

impl Default for Timeouts {
    /// Returns no limits on connections, and a required proof within 1 s.
    fn default() -> Self {
        Self {
            dial: None,
            read: None,
            write: None,
            proof: Duration::from_secs(1),
            proof_required: true,
        }
    }
}

/// The outcome of an attempt to prove an endpoint; `None` while it is under way.
type Proving = watch::Receiver<Option<Result<(), ConnectError>>>;

/// One worker's view of an endpoint, with its own connections.
pub struct WorkerEndpoint {
    /// The endpoint, shared by all workers.
    pub endpoint: Arc<Endpoint>,
    worker: usize,
    timeouts: Cell<Timeouts>,
    /// Makes new TLS connections. Open connections keep the connector that made them.
    connector: RefCell<Option<Connector>>,
    idle: Rc<IdlePool>,
    unary: Pool,
    /// The last attempt to prove the endpoint.
    proving: RefCell<Option<Proving>>,
    /// The worker's recheck signal: wakes all waiting requests, which then check whether they still
    /// should wait.
    recheck: Arc<Notify>,
    retired: Cell<bool>,
    on_demand: OnDemand,
    /// Notified of each connection that is made.
    dialled: OnceCell<Rc<Notify>>,
    /// When a connection was last given up because nothing could be sent on it, and whether that
    /// was within [`STUCK_AGAIN`] of another.
    stuck: Cell<Option<Instant>>,
    is_stuck_again: Cell<bool>,
}

impl WorkerEndpoint {
    /// Creates a worker endpoint without connections, for the worker with this number.
    pub fn new(
        endpoint: Arc<Endpoint>,
        worker: usize,
        timeouts: Timeouts,
        recheck: Arc<Notify>,
    ) -> Self {
        Self {
            worker,
            timeouts: Cell::new(timeouts),
            connector: RefCell::default(),
            idle: Rc::new(IdlePool::new(endpoint.clone())),
            endpoint,
            unary: Pool::new(PoolKind::Unary),
            proving: RefCell::default(),
            recheck,
            retired: Cell::new(false),
            on_demand: OnDemand::default(),
            dialled: OnceCell::new(),
            stuck: Cell::new(None),
            is_stuck_again: Cell::new(false),
        }
    }

    /// Has `dialled` notified of each connection that is made. Only the first call counts.
    pub fn notify_dialled(&self, dialled: &Rc<Notify>) {
        self.dialled.get_or_init(|| dialled.clone());
    }

    /// Has the sweep look at this endpoint's connections.
    fn note_dialled(&self) {
        if let Some(dialled) = self.dialled.get() {
            dialled.notify_one();
        }
    }

    /// Returns whether there is anything to sweep: now, or once what is open has ended.
    pub fn needs_sweep(&self) -> bool {
        !self.idle.is_empty() || !self.unary.is_empty() || self.load() > 0
    }

    /// Sets the timeouts of connections made from now on. If this newly requires a proof, an
    /// endpoint that was exempt must give one, and existing connections take no new requests.
    pub fn set_timeouts(&self, timeouts: Timeouts) {
        let before = self.timeouts.replace(timeouts);
        if timeouts.proof_required && !before.proof_required {
            self.endpoint.require_proof();
            self.renew();
        }
    }

    /// Sets the TLS connector; without one no `https` member can be reached. When the connector
    /// changes, connections made by the old one take no new requests: the certificate they present,
    /// or one they trusted, may be revoked by now. Exchanges that are open on them end in their own
    /// time.
    pub fn set_connector(&self, connector: Option<&Connector>) {
        if self.connector.borrow().as_ref() == connector {
            return;
        }
        self.connector.replace(connector.cloned());
        if self.endpoint.is_tls() {
            self.renew();
        }
    }

    /// Makes new requests use new connections.
    fn renew(&self) {
        self.idle.renew();
        self.unary.clear();
    }

    /// Returns the connection epoch, which goes up whenever new requests must use new connections.
    /// Connections of an earlier epoch take no new requests.
    pub fn epoch(&self) -> u64 {
        self.idle.epoch()
    }

    /// Returns how many requests and streams this worker has open on the endpoint.
    pub fn load(&self) -> u64 {
        self.endpoint.activity.open_of(self.worker)
    }

    /// Counts an exchange on this worker endpoint until the guard is dropped. A long one may
    /// rightly last for ever.
    pub fn begin(self: &Rc<Self>, is_long: bool) -> InFlight {
        let counted = self.endpoint.activity.begin(self.worker, is_long);
        InFlight { upstream: self.clone(), counted }
    }

    /// Returns whether waiting for this endpoint is pointless: it has gone silent, or is no longer
    /// listed.
    pub fn is_lost(&self) -> bool {
        self.is_gone() || self.endpoint.is_silent()
    }

    /// Returns whether the endpoint is no longer listed.
    pub fn is_gone(&self) -> bool {
        self.retired.get() || !self.endpoint.is_listed()
    }

    /// Records that nothing could be sent on `connection`. Returns whether the last two such
    /// connections came within 60 s of each other.
    pub fn note_stuck(&self, connection: &Connection) -> bool {
        if connection.report_stuck() {
            let before = self.stuck.replace(Some(Instant::now()));
            self.is_stuck_again.set(before.is_some_and(|before| before.elapsed() < STUCK_AGAIN));
        }
        self.is_stuck_again.get()
    }

    /// Returns the counters of this worker's writes to the endpoint, for probes on demand.
    pub fn on_demand(&self) -> &OnDemand {
        &self.on_demand
    }

    /// Returns the worker's recheck signal.
    pub fn recheck(&self) -> &Notify {
        &self.recheck
    }

    /// Returns the limits of connections made now.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts.get()
    }

    /// Returns the TLS connector of connections made now.
    pub fn connector(&self) -> Option<Connector> {
        self.connector.borrow().clone()
    }

    /// Takes an idle HTTP/1.1 connection that is alive, the last used first, or makes a new one.
    ///
    /// Connecting is rare and its future large, so it is boxed to keep every request's future
    /// small.
    ///
    /// # Errors
    /// When the member cannot be reached; nothing was sent then.
    pub async fn http1(&self) -> Result<IdleConn, ConnectError> {
        match self.idle.take() {
            Some(idle) => Ok(idle),
            None => Box::pin(self.waited_http1()).await,
        }
    }

    /// Yields to all other ready tasks before connecting. By then, requests that their client has
    /// reset or broken off are gone and cost no connection, and others have given theirs back.
    async fn waited_http1(&self) -> Result<IdleConn, ConnectError> {
        tokio::task::yield_now().await;
        match self.idle.take() {
            Some(idle) => Ok(idle),
            None => self.new_http1().await,
        }
    }

    /// Makes a new HTTP/1.1 connection.
    ///
    /// # Errors
    /// When the member cannot be reached.
    pub async fn new_http1(&self) -> Result<IdleConn, ConnectError> {
        self.dial_http1().await.map(IdleConn::new)
    }

    /// Returns this worker's idle HTTP/1.1 connections.
    pub fn idle(&self) -> &Rc<IdlePool> {
        &self.idle
    }

    /// Returns the connections for unary gRPC calls, shared by all of this worker's clients.
    pub fn unary(&self) -> &Pool {
        &self.unary
    }

    /// Connects to the member's client port, or to `address`, with TLS if its URL says so. `alpn`
    /// names the protocol that will be spoken. For [`prove`] only: the other side may be anything
    /// until it has proved its cluster.
    async fn dial(
        &self,
        alpn: Alpn,
        address: Option<SocketAddr>,
    ) -> Result<MemberIo, ConnectError> {
        loop {
            let made = self.dial_once(alpn, address).await?;
            // The connector may have been replaced meanwhile, and the old one must not be used for
            // anything new.
            if made.epoch() == self.epoch() {
                return Ok(made);
            }
        }
    }

    async fn dial_once(
        &self,
        alpn: Alpn,
        address: Option<SocketAddr>,
    ) -> Result<MemberIo, ConnectError> {
        let timeouts = self.timeouts.get();
        if address.is_none() {
            // The lookup has a limit of its own.
            self.resolve().await?;
        }
        let (begin, epoch) = (Instant::now(), self.epoch());
        let stream = self.connect(address, self.dial_limit()).await.inspect_err(|error| {
            if error.kind() == Kind::Unreachable {
                // The next to listen on the port may be something else.
                self.endpoint.proofs().forget();
            }
        })?;
        self.note_dialled();
        let limited = |stream, tls| {
            MemberIo::new(stream, tls, timeouts.read, timeouts.write)
                .map(|io| io.of_epoch(epoch))
                .map_err(|error| {
                    self.connect_error(&format_args!("it closed the connection: {error}"))
                })
        };
        if !self.endpoint.is_tls() {
            return limited(MaybeTlsStream::Tcp(stream), None);
        }
        let connector = self.connector.borrow().clone();
        let connector = connector.ok_or_else(|| self.connect_error(&"TLS is not set up"))?;
        let left =
            timeouts.dial.map_or(HANDSHAKE_MOST, |most| most.saturating_sub(begin.elapsed()));
        let stream = self.secure(stream, &connector, alpn, left).await?;
        limited(stream, Some(connector))
    }

    /// Returns the limit of connecting over TCP: `proxy-dial-timeout`, or if that is off
    /// [`HANDSHAKE_MOST`] until the endpoint has proved its cluster.
    fn dial_limit(&self) -> Option<Duration> {
        let without = (!self.endpoint.is_trusted()).then_some(HANDSHAKE_MOST);
        self.timeouts.get().dial.or(without)
    }

    /// Connects over TCP, to `address` or to any address of the endpoint's name. The name comes
    /// from a member list, so some addresses are not dialled (see [`NamedBy::Network`]).
    async fn connect(
        &self,
        address: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Result<TcpStream, ConnectError> {
        let by = NamedBy::Network;
        Ok(match address {
            Some(to) => dial::dial(&to.ip().to_string(), to.port(), by, limit).await?,
            None => {
                let (host, port) = (&self.endpoint.host, self.endpoint.port);
                dial::dial_last(host, port, by, limit, &self.endpoint.proofs().failed()).await?
            }
        })
    }

    /// Looks up the member's name, so that a dial does not have to wait for that.
    ///
    /// # Errors
    /// When its name has no address that may be dialled.
    pub async fn resolve(&self) -> Result<(), ConnectError> {
        let (host, port) = (&self.endpoint.host, self.endpoint.port);
        Ok(dial::resolve(host, port, NamedBy::Network).await?)
    }

    async fn secure(
        &self,
        stream: TcpStream,
        connector: &Connector,
        alpn: Alpn,
        left: Duration,
    ) -> Result<MaybeTlsStream, ConnectError> {
        let handshake = connector.connect(CoalescingWriter(stream), &self.endpoint.host, alpn);
        match timeout(left, handshake).await {
            Ok(Ok(stream)) => Ok(MaybeTlsStream::Tls(Box::new(stream))),
            Ok(Err(why)) => {
                let spares = why.comes_of_tls();
                let kind = if spares { Kind::SparesOpen } else { Kind::Unreachable };
                Err(self.connect_error(&why).of_kind(kind))
            }
            Err(_) => {
                Err(self.connect_error(&format!("no answer to the TLS handshake within {left:?}")))
            }
        }
    }

    /// Finds out whether the member's port answers in TLS, whatever its URL says.
    pub async fn speaks_tls(&self) -> bool {
        let connector = self.connector.borrow().clone();
        let dialled = self.connect(None, self.timeouts.get().dial).await;
        let (Some(connector), Ok(stream)) = (connector, dialled) else { return false };
        match connector.connect(CoalescingWriter(stream), &self.endpoint.host, Alpn::H2).await {
            Ok(_) => true,
            Err(why) => why.comes_of_tls(),
        }
    }

    /// Makes an error that names the member's address and says `why`.
    pub fn connect_error(&self, why: &impl std::fmt::Display) -> ConnectError {
        let at = Authority(&self.endpoint.host, self.endpoint.port);
        ConnectError::new(&format_args!("{at}: {why}"))
    }

    /// Returns the likely cause when a TLS member closes a new connection without a reply; `None`
    /// for plaintext.
    pub fn explain_silent_close(&self) -> Option<ConnectError> {
        let connector = self.connector.borrow();
        let connector = connector.as_ref().filter(|_| self.endpoint.is_tls())?;
        Some(self.connect_error(&connector.mute_rule()))
    }

    /// Closes connections that the member has closed, or that have been idle for longer than
    /// [`IDLE_LIMIT`].
    pub fn sweep(&self, now: Instant) {
        let cx = &mut Context::from_waker(Waker::noop());
        let limit = now.checked_sub(IDLE_LIMIT).unwrap_or(now);
        self.idle.sweep(now, limit);
        self.unary.sweep(cx, limit);
    }

    /// Closes all idle HTTP/1.1 connections.
    pub fn close_idle(&self) {
        self.idle.clear();
    }

    /// Closes all connections that carry no exchange, and wakes waiting requests: the endpoint is
    /// no longer listed.
    pub fn retire(&self) {
        self.idle.clear();
        self.unary.clear();
        self.retired.set(true);
        self.recheck.notify_waiters();
    }
}

impl Connect for WorkerEndpoint {
    fn epoch(&self) -> u64 {
        self.epoch()
    }

    fn http2(
        &self,
        pool_kind: PoolKind,
    ) -> impl Future<Output = Result<Rc<Connection>, ConnectError>> {
        self.http2(pool_kind)
    }
}

/// Counts an exchange on a worker endpoint until it is dropped.
pub struct InFlight {
    upstream: Rc<WorkerEndpoint>,
    counted: Counted,
}

impl InFlight {
    /// Notes that the member's answer has begun.
    pub fn answered(&mut self) {
        let upstream = &self.upstream;
        upstream.endpoint.activity.answer(upstream.worker, &mut self.counted);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let upstream = &self.upstream;
        upstream.endpoint.activity.end(upstream.worker, &mut self.counted);
    }
}
