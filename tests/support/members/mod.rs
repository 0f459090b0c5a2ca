//! Scripted members: real sockets that follow a test's instructions, for faults that a real etcd
//! cannot be made to show.
//!
//! [`Members`] listens on one client port per member and on one peer port that lists them. Every
//! request on a client port is handed to the test as an [`Arrival`], and only the test answers it.
//! The exceptions are the daemon's own requests: probes, and the proof that a member belongs to the
//! cluster. The daemon shuffles its members, so tests speak of "the first that is asked" and not of
//! "member 0".

pub mod http1;
pub mod http2;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::peer::{Peer, Reply};
use super::proxy::{Plan, Proxy};
use super::{PATIENCE, port};
use http1::Exchange;
use http2::Call;

/// The ID of the cluster that scripted members belong to, unless a test changes it.
pub const CLUSTER: u64 = 0xcafe;

/// How a member's client port treats new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Reads requests and hands them to the test.
    Serve,
    /// Accepts and never reads or writes, like a process that was stopped.
    Silent,
    /// Hands the TCP connection to the test.
    Raw,
    /// Closes it at once.
    Drop,
}

/// A request or connection that has arrived at a member.
pub enum Arrival {
    /// A request over HTTP/1.
    Http1(Exchange),
    /// A request over HTTP/2.
    Http2(Call),
    /// A connection, to a member whose conduct is [`Conduct::Raw`].
    Raw(usize, TcpStream),
}

/// Some members behind one peer.
pub struct Members {
    peer: Peer,
    ports: Vec<u16>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    put_aside: VecDeque<Arrival>,
    shared: Vec<Arc<Shared>>,
    doors: Vec<AbortHandle>,
}

/// The state of one member, shared by all its connections.
pub(crate) struct Shared {
    pub(crate) member: usize,
    conduct: Mutex<Conduct>,
    connections: AtomicUsize,
    open: AtomicUsize,
    hangs: AtomicBool,
    has_no_quorum: AtomicBool,
    frozen: watch::Sender<bool>,
    /// Number of times that open connections were told to close their windows.
    closed_windows: watch::Sender<usize>,
    has_no_window: AtomicBool,
    cut: watch::Sender<()>,
    /// The cluster ID in its answers; 0 for none.
    cluster: AtomicU64,
    proofs: AtomicUsize,
    asked: AtomicUsize,
    arrivals: mpsc::UnboundedSender<Arrival>,
    held: Mutex<Vec<TcpStream>>,
}

impl Members {
    /// Starts `count` members. Must be called within a runtime, which serves them.
    pub async fn start(count: usize) -> Self {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let ports: Vec<u16> = (0..count).map(|_| port::free()).collect();
        let shared: Vec<_> = (0..count).map(|member| Shared::new(member, &sender)).collect();
        let peer = Peer::start(Reply::members("cafe", &list(&ports)));
        let mut members =
            Self { peer, ports, arrivals, put_aside: VecDeque::new(), shared, doors: Vec::new() };
        for member in 0..count {
            let door = members.listen(member).await;
            members.doors.push(door);
        }
        members
    }

    async fn listen(&self, member: usize) -> AbortHandle {
        let listener = TcpListener::bind(("127.0.0.1", self.ports[member])).await.expect("a port");
        let shared = self.shared[member].clone();
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.clone().take(stream);
            }
        };
        tokio::spawn(accepting).abort_handle()
    }

    /// Returns `--initial-cluster` for a daemon in front of them.
    pub fn initial_cluster(&self) -> String {
        format!("scripted={}", self.peer.url)
    }

    /// Returns a member's client address, `127.0.0.1:PORT`.
    pub fn address(&self, member: usize) -> String {
        format!("127.0.0.1:{}", self.ports[member])
    }

    /// Returns the peer that lists them.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Returns the peer's member list.
    pub fn list(&self) -> String {
        list(&self.ports)
    }

    /// Makes the peer list only these members from now on.
    pub fn list_only(&self, members: &[usize]) {
        let ports: Vec<u16> = members.iter().map(|member| self.ports[*member]).collect();
        self.peer.set(Reply::members("cafe", &list(&ports)));
    }

    /// Plans a daemon in front of them that probes nobody by itself and has one worker.
    pub fn plan(&self) -> Plan {
        let plan = Proxy::with_peers(&self.initial_cluster());
        plan.arguments(&["--health-interval", "0", "--workers", "1"])
    }

    /// Plans a daemon in front of them that probes them every 100 ms. Members answer probes without
    /// the test, until one is made to hang.
    pub fn probing_plan(&self) -> Plan {
        let plan = Proxy::with_peers(&self.initial_cluster()).arguments(&["--workers", "1"]);
        plan.arguments(&["--health-interval", "100ms", "--health-timeout", "400ms"])
    }

    /// Makes a member ignore probes, or answer them again.
    pub fn hang(&self, member: usize, hangs: bool) {
        self.shared[member].hangs.store(hangs, Ordering::Relaxed);
    }

    /// Makes a member answer only the health checks among its probes, or all probes again.
    pub fn lose_quorum(&self, member: usize, is_lost: bool) {
        self.shared[member].has_no_quorum.store(is_lost, Ordering::Relaxed);
    }

    /// Stops all HTTP/2 of a member, PINGs included, as SIGSTOP does. Its HTTP/1 is up to the test
    /// in any case.
    pub fn freeze(&self, member: usize) {
        self.shared[member].frozen.send_replace(true);
    }

    /// Closes all HTTP/2 connections of a member, the daemon's own included.
    pub fn cut(&self, member: usize) {
        self.shared[member].cut.send_replace(());
    }

    /// Changes the cluster ID in a member's answers; with 0 they carry none.
    pub fn claim(&self, member: usize, cluster: u64) {
        self.shared[member].cluster.store(cluster, Ordering::Relaxed);
    }

    /// Returns how often a member was asked for the proof of its cluster.
    pub fn proofs(&self, member: usize) -> usize {
        self.shared[member].proofs.load(Ordering::Relaxed)
    }

    /// Returns how many calls of its own the daemon has made to all members over HTTP/2: probes,
    /// health checks and proofs.
    pub fn asked(&self) -> usize {
        self.shared.iter().map(|shared| shared.asked.load(Ordering::Relaxed)).sum()
    }

    /// Sets the windows of new requests on a member's open connections to zero; with `also_new`,
    /// those of new connections too.
    pub fn close_windows(&self, member: usize, also_new: bool) {
        self.shared[member].has_no_window.store(also_new, Ordering::Relaxed);
        self.shared[member].closed_windows.send_modify(|times| *times += 1);
    }

    /// Starts the daemon of [`Members::plan`] and waits until all members have proved themselves to
    /// it.
    pub async fn proxy(&self) -> Proxy {
        self.start_proved(self.plan()).await
    }

    /// Starts a daemon and waits until all members have proved to it that they belong to the
    /// cluster.
    pub async fn start_proved(&self, plan: Plan) -> Proxy {
        let proxy = start(plan).await;
        self.until_proved(&proxy).await;
        proxy
    }

    /// Waits until all members have proved to a daemon that they belong to the cluster.
    pub async fn until_proved(&self, proxy: &Proxy) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let status = super::http1::get(&proxy.address, "/proxy/status").await.json();
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let proved = |member: &serde_json::Value| member["endpoints"][0]["proof"] == "proved";
            if members.len() == self.ports.len() && members.iter().all(proved) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "no proof: {status}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Sets how one member treats new connections.
    pub fn set(&self, member: usize, conduct: Conduct) {
        *self.shared[member].conduct.lock().expect("conduct") = conduct;
    }

    /// Sets how all members treat new connections.
    pub fn set_all(&self, conduct: Conduct) {
        (0..self.shared.len()).for_each(|member| self.set(member, conduct));
    }

    /// Closes a member's port. New connections are refused; open ones stay.
    pub fn refuse(&self, member: usize) {
        self.doors[member].abort();
    }

    /// Returns how many connections a member has accepted for clients' requests. Connections with
    /// nothing but the daemon's own requests are not counted.
    pub fn connections(&self, member: usize) -> usize {
        self.shared[member].connections.load(Ordering::Relaxed)
    }

    /// Returns how many HTTP connections of all members are open.
    pub fn open_connections(&self) -> usize {
        self.shared.iter().map(|shared| shared.open.load(Ordering::Relaxed)).sum()
    }

    /// Waits for the next arrival at any member.
    pub async fn next(&mut self) -> Arrival {
        if let Some(arrival) = self.put_aside.pop_front() {
            return arrival;
        }
        let arrival = tokio::time::timeout(PATIENCE, self.arrivals.recv()).await;
        arrival.expect("nothing arrives at any member").expect("members that live")
    }

    /// Waits for the next request over HTTP/1; panics on any other arrival.
    pub async fn exchange(&mut self) -> Exchange {
        match self.next().await {
            Arrival::Http1(exchange) => exchange,
            Arrival::Http2(call) => panic!("over HTTP/2: {}", call.path()),
            Arrival::Raw(..) => panic!("a bare connection"),
        }
    }

    /// Answers one GET through the daemon at `address`, which then knows that this member speaks
    /// HTTP. The connection is closed.
    pub async fn prove_http(&mut self, address: &str) {
        let address = address.to_owned();
        let asked =
            tokio::spawn(async move { super::http1::get(&address, "/version").await.status });
        let mut exchange = self.exchange().await;
        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        exchange.send(answer).await.expect("sent");
        assert_eq!(asked.await.expect("a task"), 200);
    }

    /// Waits for the next request over HTTP/2; panics on any other arrival.
    pub async fn call(&mut self) -> Call {
        match self.next().await {
            Arrival::Http2(call) => call,
            Arrival::Http1(exchange) => panic!("over HTTP/1: {}", exchange.first_line),
            Arrival::Raw(..) => panic!("a bare connection"),
        }
    }

    /// Waits for the next bare connection; panics on any other arrival.
    pub async fn raw(&mut self) -> (usize, TcpStream) {
        match self.next().await {
            Arrival::Raw(member, stream) => (member, stream),
            Arrival::Http2(call) => panic!("over HTTP/2: {}", call.path()),
            Arrival::Http1(exchange) => panic!("over HTTP/1: {}", exchange.first_line),
        }
    }

    /// Returns whether no arrival is waiting to be taken.
    pub fn is_quiet(&mut self) -> bool {
        if self.put_aside.is_empty() {
            self.put_aside.extend(self.arrivals.try_recv().ok());
        }
        self.put_aside.is_empty()
    }

    /// Answers every arrival with `answer`, each in a task, until the handle is dropped.
    pub fn serve(mut self, answer: impl AsyncAnswer) -> Serving {
        let ports = self.ports.clone();
        let arrivals = std::mem::replace(&mut self.arrivals, mpsc::unbounded_channel().1);
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            let mut arrivals = arrivals;
            while let Some(arrival) = arrivals.recv().await {
                let answer = answer.clone();
                tokio::spawn(async move { answer.answer(arrival).await });
            }
        });
        Serving { members: self, ports, task: task.abort_handle() }
    }
}

/// A function that answers arrivals.
pub trait AsyncAnswer: Send + Sync + 'static {
    /// Answers one arrival.
    fn answer(&self, arrival: Arrival) -> impl Future<Output = ()> + Send;
}

impl<F, R> AsyncAnswer for F
where
    F: Fn(Arrival) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    fn answer(&self, arrival: Arrival) -> impl Future<Output = ()> + Send {
        self(arrival)
    }
}

/// Members whose arrivals a function answers.
pub struct Serving {
    pub members: Members,
    ports: Vec<u16>,
    task: AbortHandle,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.doors.iter().for_each(AbortHandle::abort);
    }
}

/// Starts a daemon on another thread, since the members are served on that of the test.
pub async fn start(plan: Plan) -> Proxy {
    tokio::task::spawn_blocking(|| plan.start()).await.expect("the daemon starts")
}

/// Encodes the response header of a member of this cluster, as field 1 of a message.
pub fn header(cluster: u64) -> Vec<u8> {
    let (mut header, mut varint) = (vec![0x08], cluster);
    while varint >= 0x80 {
        header.push(varint as u8 | 0x80);
        varint >>= 7;
    }
    header.push(varint as u8);
    [&[0x0a, header.len() as u8], &header[..]].concat()
}

/// Returns the peer's list of members with these client ports.
fn list(ports: &[u16]) -> String {
    let members: Vec<String> = ports
        .iter()
        .enumerate()
        .map(|(n, port)| {
            format!(
                "{{\"id\":{},\"peerURLs\":[\"http://127.0.0.1:1\"],\"name\":\"m{n}\",\"clientURLs\":[\"http://127.0.0.1:{port}\"]}}",
                n + 1
            )
        })
        .collect();
    format!("[{}]\n", members.join(","))
}

impl Shared {
    fn new(member: usize, arrivals: &mpsc::UnboundedSender<Arrival>) -> Arc<Self> {
        Arc::new(Self {
            member,
            conduct: Mutex::new(Conduct::Serve),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            has_no_quorum: AtomicBool::new(false),
            frozen: watch::channel(false).0,
            closed_windows: watch::channel(0).0,
            has_no_window: AtomicBool::new(false),
            cut: watch::channel(()).0,
            cluster: AtomicU64::new(CLUSTER),
            proofs: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            arrivals: arrivals.clone(),
            held: Mutex::default(),
        })
    }

    fn take(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let conduct = *self.conduct.lock().expect("conduct");
        match conduct {
            Conduct::Serve => drop(tokio::spawn(self.clone().detect(stream))),
            Conduct::Silent => self.held.lock().expect("held").push(stream),
            Conduct::Raw => self.hand_over(Arrival::Raw(self.member, stream)),
            Conduct::Drop => {}
        }
        if conduct != Conduct::Serve {
            self.connected();
        }
    }

    async fn detect(self: Arc<Self>, stream: TcpStream) {
        let mut first = [0; 4];
        while let Ok(seen) = stream.peek(&mut first).await {
            if &first == b"PRI " {
                return http2::serve(stream, self).await;
            }
            if seen == 0 {
                return;
            }
            if !b"PRI ".starts_with(&first[..seen]) {
                let number = self.connected();
                return http1::serve(stream, self, number).await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Counts a connection and returns how many there were before it.
    pub(crate) fn connected(&self) -> usize {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        header(self.cluster.load(Ordering::Relaxed))
    }

    pub(crate) fn count_asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_proof(&self) {
        self.proofs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hand_over(&self, arrival: Arrival) {
        // An error means that the test has ended.
        let _ = self.arrivals.send(arrival);
    }

    pub(crate) fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Relaxed)
    }

    pub(crate) fn has_no_quorum(&self) -> bool {
        self.has_no_quorum.load(Ordering::Relaxed)
    }

    pub(crate) fn until_cut(&self) -> watch::Receiver<()> {
        self.cut.subscribe()
    }

    pub(crate) fn frozen(&self) -> watch::Receiver<bool> {
        self.frozen.subscribe()
    }

    pub(crate) fn closed_windows(&self) -> watch::Receiver<usize> {
        self.closed_windows.subscribe()
    }

    pub(crate) fn has_no_window(&self) -> bool {
        self.has_no_window.load(Ordering::Relaxed)
    }

    pub(crate) fn opened(self: &Arc<Self>) -> Presence {
        self.open.fetch_add(1, Ordering::Relaxed);
        Presence(self.clone())
    }
}

/// Counts an open connection until it is dropped.
pub(crate) struct Presence(Arc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
