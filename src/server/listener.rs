//! Accepts the connections of one client URL on one worker.
//!
//! The loop never ends by itself. Errors of a single connection are skipped. A shortage of
//! descriptors, memory or room for clients is waited out, and logged once when it begins and once
//! when it is over.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use super::connection::{serve, serve_tls};
use super::drain::DrainSignal;
use super::io::HungUp;
use super::limits;
use super::local::RenderHandle;
use super::preface::{Peek, scheme_of};
use crate::config::ListenScheme;
use crate::net::conn_limit::{ConnLimit, Full};
use crate::net::listen::ListenSocket;
use crate::proxy::client::Client;
use crate::proxy::worker::Worker;

/// The socket of a client URL on one worker, ready to accept.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// What every connection of a worker needs.
#[derive(Clone)]
pub struct ConnContext {
    /// The worker that serves the connections.
    pub worker: Rc<Worker>,
    /// Renders the pages that the proxy serves itself.
    pub pages: RenderHandle,
    /// The limit of clients over all workers.
    pub conn_limit: ConnLimit,
}

enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Listener {
    /// Registers a bound socket with this thread's runtime.
    ///
    /// # Errors
    /// The runtime cannot register it.
    pub fn new(socket: ListenSocket) -> io::Result<Self> {
        Ok(match socket {
            ListenSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            ListenSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    /// Accepts connections for ever, each served in its own task, in cleartext, TLS or either as
    /// `scheme` says when it is accepted. Cancel by dropping: accepted connections live on.
    pub async fn run(
        self,
        context: ConnContext,
        drain: Rc<DrainSignal>,
        scheme: Rc<Cell<ListenScheme>>,
    ) {
        let mut starved = None;
        let label = self.label();
        loop {
            let problem = match context.conn_limit.has_room() {
                Ok(()) => match self.accept().await {
                    Ok(accepted) => {
                        if starved.take().is_some() {
                            tracing::info!(state = "accepting", "accepting connections again");
                        }
                        admit(accepted, &label, &context, &drain, scheme.get());
                        continue;
                    }
                    Err(error) if is_of_one_connection(&error) => continue,
                    Err(error) => error.to_string(),
                },
                Err(Full::Descriptors) => {
                    "the limit of open files leaves no room for another client".to_owned()
                }
                // Logged by the control plane, which watches the memory.
                Err(Full::Memory) => {
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if starved.replace(context.conn_limit.keep_waiting()).is_none() {
                tracing::error!(
                    state = "accepting",
                    error = problem,
                    "cannot accept connections; raise LimitNOFILE= if this many clients are expected"
                );
            }
            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
        }
    }

    /// Returns its address for the log.
    fn label(&self) -> Rc<str> {
        match self {
            Self::Tcp(listener) => tcp_label(listener),
            Self::Unix(listener) => unix_label(listener),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(stream, from)| Accepted::Tcp(stream, from.ip()))
            }
            Self::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| Accepted::Unix(stream))
            }
        }
    }
}

/// Returns whether an accept failed only for the connection that it was about to return (accept(2),
/// "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
        || matches!(error.raw_os_error(), Some(nix::libc::EPROTO))
}

/// Returns a TCP listener's address for the log.
pub fn tcp_label(listener: &TcpListener) -> Rc<str> {
    listener.local_addr().map_or("?".into(), |address| address.to_string().into())
}

/// Returns a unix listener's path for the log.
pub fn unix_label(listener: &UnixListener) -> Rc<str> {
    let address = listener.local_addr().ok();
    let path = address.as_ref().and_then(|address| address.as_pathname());
    path.map_or("unix socket".into(), |path| path.to_string_lossy().into())
}

fn admit(
    accepted: Accepted,
    label: &Rc<str>,
    context: &ConnContext,
    drain: &Rc<DrainSignal>,
    scheme: ListenScheme,
) {
    let client = |from| {
        Client::new(context.worker.clone(), label.clone(), from)
            .with_permit(context.conn_limit.acquire())
    };
    let guard = ConnGuard::new(context.worker.clone(), drain.clone());
    match accepted {
        Accepted::Tcp(stream, from) => {
            prepare(&stream);
            start(stream, client(Some(from)), guard, context.pages.clone(), scheme);
        }
        Accepted::Unix(stream) => {
            start(stream, client(None), guard, context.pages.clone(), scheme);
        }
    }
}

fn prepare(stream: &TcpStream) {
    let keepalive =
        TcpKeepalive::new().with_time(limits::KEEPALIVE).with_interval(limits::KEEPALIVE);
    // A connection works without either, so errors are ignored.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Serves a connection in its own task. Each scheme has a task type, so that a cleartext connection
/// does not reserve room for TLS.
fn start<S>(stream: S, client: Client, guard: ConnGuard, pages: RenderHandle, scheme: ListenScheme)
where
    S: AsyncRead + AsyncWrite + Peek + HungUp + Unpin + Send + 'static,
{
    match scheme {
        ListenScheme::Plain => {
            let client = Rc::new(client);
            tokio::task::spawn_local(async move {
                serve(stream, client, guard.drain.clone(), pages).await;
                drop(guard);
            });
        }
        ListenScheme::Tls => {
            let client = Rc::new(client.with_tls());
            tokio::task::spawn_local(async move {
                serve_tls(stream, client, guard.drain.clone(), pages).await;
                drop(guard);
            });
        }
        ListenScheme::Both => {
            tokio::task::spawn_local(async move {
                let limit = guard.drain.timeouts().first_head;
                if let Ok(Ok(Some(scheme))) = timeout(limit, scheme_of(&stream)).await {
                    start(stream, client, guard, pages, scheme);
                }
            });
        }
    }
}

/// Counts a connection as long as its task lives, even if that panics.
struct ConnGuard {
    worker: Rc<Worker>,
    drain: Rc<DrainSignal>,
}

impl ConnGuard {
    fn new(worker: Rc<Worker>, drain: Rc<DrainSignal>) -> Self {
        worker.counters.connection_opened();
        drain.add_connection();
        Self { worker, drain }
    }
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        self.worker.counters.connection_closed();
        self.drain.remove_connection();
    }
}
