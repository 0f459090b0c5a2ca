//! What one worker has of an endpoint: its own connections, and the means to interrupt who waits on
//! them.
//!
//! A worker endpoint belongs to one thread and is shared there by `Rc`; nothing in it locks. It
//! lives as long as its endpoint is listed, and longer while exchanges are open on it.

mod prove;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

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

/// Connections that have been idle for longer are closed by the sweep.
pub const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// Limit of a TLS handshake when `proxy-dial-timeout` is off; etcd's own. Then also the limit of
/// connecting to an endpoint that has not proved its cluster, since others wait for the proof.
const HANDSHAKE_MOST: Duration = Duration::from_secs(10);

/// Within this time a second connection on which nothing can be sent speaks against the member.
const STUCK_AGAIN: Duration = Duration::from_secs(60);

/// Limits of connections to members, each `None` for none, and what they must prove.
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
    /// No limits, but what is proved.
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

/// What has come of an attempt to prove an endpoint, once it is over.
type Proving = watch::Receiver<Option<Result<(), ConnectError>>>;

/// One worker's side of an endpoint.
pub struct WorkerEndpoint {
    /// The endpoint, shared by all workers.
    pub endpoint: Arc<Endpoint>,
    worker: usize,
    timeouts: Cell<Timeouts>,
    /// What speaks TLS; connections that are open keep the one that made them.
    connector: RefCell<Option<Connector>>,
    idle: Rc<IdlePool>,
    unary: Pool,
    /// The last attempt to prove the endpoint.
    proving: RefCell<Option<Proving>>,
    /// The worker's recheck signal: wakes everything that waits, to check whether it still should.
    recheck: Arc<Notify>,
    retired: Cell<bool>,
    on_demand: OnDemand,
    /// When a connection was last given up on which nothing could be sent, and whether that was
    /// soon after another.
    stuck: Cell<Option<Instant>>,
    is_stuck_again: Cell<bool>,
}

impl WorkerEndpoint {
    /// Makes a worker endpoint without connections for the worker of this number.
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
            stuck: Cell::new(None),
            is_stuck_again: Cell::new(false),
        }
    }

    /// Sets the timeouts of connections that are made from now on. When a proof is required that
    /// was not before, an endpoint that did without must give one, and connections from before take
    /// no new request.
    pub fn set_timeouts(&self, timeouts: Timeouts) {
        let before = self.timeouts.replace(timeouts);
        if timeouts.proof_required && !before.proof_required {
            self.endpoint.require_proof();
            self.renew();
        }
    }

    /// Sets what speaks TLS; without it no `https` member can be reached. When it is another one,
    /// connections that the old one made take no new request: what they show and whom they trusted
    /// may be revoked by now. What is open on them ends in its own time.
    pub fn set_connector(&self, connector: Option<&Connector>) {
        if self.connector.borrow().as_ref() == connector {
            return;
        }
        self.connector.replace(connector.cloned());
        if self.endpoint.is_tls() {
            self.renew();
        }
    }

    /// Has new requests go over new connections.
    fn renew(&self) {
        self.idle.renew();
        self.unary.clear();
    }

    /// Counts how often new requests had to go over new connections; connections of an earlier
    /// count are not for them.
    pub fn epoch(&self) -> u64 {
        self.idle.epoch()
    }

    /// Requests and streams of this worker on the endpoint.
    pub fn load(&self) -> u64 {
        self.endpoint.load_of(self.worker)
    }

    /// Counts an exchange on this worker endpoint until the guard is dropped.
    pub fn begin(self: &Rc<Self>) -> InFlight {
        self.endpoint.begin(self.worker);
        InFlight(self.clone())
    }

    /// Whether waiting for this endpoint is pointless: it has gone silent, or is no longer listed.
    pub fn is_lost(&self) -> bool {
        self.is_gone() || self.endpoint.is_silent()
    }

    /// Whether the endpoint is no longer listed.
    pub fn is_gone(&self) -> bool {
        self.retired.get() || !self.endpoint.is_listed()
    }

    /// Notes that nothing could be sent on `connection`. Returns whether it is so with one
    /// connection after the other.
    pub fn note_stuck(&self, connection: &Connection) -> bool {
        if connection.report_stuck() {
            let before = self.stuck.replace(Some(Instant::now()));
            self.is_stuck_again.set(before.is_some_and(|before| before.elapsed() < STUCK_AGAIN));
        }
        self.is_stuck_again.get()
    }

    /// How writes to the endpoint fare.
    pub fn on_demand(&self) -> &OnDemand {
        &self.on_demand
    }

    /// The worker's recheck signal.
    pub fn recheck(&self) -> &Notify {
        &self.recheck
    }

    /// The limits of connections that are made now.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts.get()
    }

    /// What speaks TLS on connections that are made now.
    pub fn connector(&self) -> Option<Connector> {
        self.connector.borrow().clone()
    }

    /// Takes an idle HTTP/1.1 connection that is alive, the last used first, or makes one.
    ///
    /// Making one is rare and its future large, so it is boxed: no request carries room for it.
    ///
    /// # Errors
    /// When the member cannot be reached; nothing was sent then.
    pub async fn http1(&self) -> Result<IdleConn, ConnectError> {
        match self.idle.take() {
            Some(idle) => Ok(idle),
            None => Box::pin(self.waited_http1()).await,
        }
    }

    /// Lets everything else that is ready go first: a client's requests that it has reset or broken
    /// meanwhile are gone then and cost no connection, and others have given theirs back.
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

    /// The idle HTTP/1.1 connections of this worker.
    pub fn idle(&self) -> &Rc<IdlePool> {
        &self.idle
    }

    /// The connections for unary gRPC calls of all this worker's clients.
    pub fn unary(&self) -> &Pool {
        &self.unary
    }

    /// Connects to the member's client port, or to `address`, by TLS if its URL says so; `alpn` is
    /// what will be spoken. For [`prove`] only: whoever is there may be anybody.
    async fn dial(
        &self,
        alpn: Alpn,
        address: Option<SocketAddr>,
    ) -> Result<MemberIo, ConnectError> {
        loop {
            let made = self.dial_once(alpn, address).await?;
            // What speaks TLS may have been replaced meanwhile, and the old one is not to be used
            // for anything new.
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
                // Whoever takes the port next may be somebody else.
                self.endpoint.proofs().forget();
            }
        })?;
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

    /// Limit of connecting by TCP: `proxy-dial-timeout`, or if that is off [`HANDSHAKE_MOST`] until
    /// the endpoint has proved its cluster.
    fn dial_limit(&self) -> Option<Duration> {
        let without = (!self.endpoint.is_trusted()).then_some(HANDSHAKE_MOST);
        self.timeouts.get().dial.or(without)
    }

    /// Connects by TCP, to `address` or to any of its name's. Endpoints are named by a member list,
    /// so not to every one.
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

    /// Waits until the member can be dialled without waiting for the lookup of its name.
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

    /// Whether the member's port answers in TLS, whatever its URL says.
    pub async fn speaks_tls(&self) -> bool {
        let connector = self.connector.borrow().clone();
        let dialled = self.connect(None, self.timeouts.get().dial).await;
        let (Some(connector), Ok(stream)) = (connector, dialled) else { return false };
        match connector.connect(CoalescingWriter(stream), &self.endpoint.host, Alpn::H2).await {
            Ok(_) => true,
            Err(why) => why.comes_of_tls(),
        }
    }

    /// Says of a member what is wrong with it.
    pub fn connect_error(&self, why: &impl std::fmt::Display) -> ConnectError {
        let at = Authority(&self.endpoint.host, self.endpoint.port);
        ConnectError::new(&format_args!("{at}: {why}"))
    }

    /// What it probably means that the member has closed a new connection before it said anything;
    /// `None` in the clear.
    pub fn explain_silent_close(&self) -> Option<ConnectError> {
        let connector = self.connector.borrow();
        let connector = connector.as_ref().filter(|_| self.endpoint.is_tls())?;
        Some(self.connect_error(&connector.mute_rule()))
    }

    /// Closes idle connections that their member has closed, or that nobody has used for long.
    pub fn sweep(&self, now: Instant) {
        let cx = &mut Context::from_waker(Waker::noop());
        let limit = now.checked_sub(IDLE_LIMIT).unwrap_or(now);
        self.idle.sweep(now, limit);
        self.unary.sweep(cx, limit);
    }

    /// Closes HTTP/1.1 connections that nobody uses now.
    pub fn close_idle(&self) {
        self.idle.clear();
    }

    /// Closes all connections without an exchange: the endpoint is not listed any more.
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
pub struct InFlight(Rc<WorkerEndpoint>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.endpoint.end(self.0.worker);
    }
}
