//! Listening sockets, one for each worker, bound before anything is used.
//!
//! The workers' TCP sockets share one port through `SO_REUSEPORT`, and that is also the danger: two
//! daemons of one user could share a port without a word. So the first socket of each address is bound
//! and set listening *without* the option, which only one process can do; only then is the option
//! switched on for it, and the others join. There is no instant at which two daemons could both
//! succeed, nor one at which the port is free again.
//!
//! `[::]` takes IPv4 too, as in Go, whatever the `bindv6only` sysctl says. `0.0.0.0` takes IPv4 only
//! (Go would open IPv6 as well, which nobody expects who reads the address).
//!
//! Sockets inherited from systemd (`LISTEN_FDS`, the descriptor store) will become [`Bound`]s here too,
//! matched to the settings by address; nothing else needs to know where a socket came from.
//!
//! The sockets of a unix address are duplicates of one; its file goes when the [`Bound`] is dropped.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, Socket, Type};

use super::occupant::{self, Occupant};
use super::socket_file::{self, SocketFile};
use crate::config::{ListenAddress, ListenUrl};

/// Connections that may wait to be accepted, for each socket; the kernel lowers it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// One address with its sockets, one for each worker.
#[derive(Debug)]
pub struct Bound {
    /// The address as bound: with the real port where the settings said 0.
    pub url: ListenUrl,
    /// The sockets, non-blocking and close-on-exec, already listening.
    pub sockets: Vec<ListenSocket>,
    /// Removes the socket file when this is dropped; `None` for TCP.
    _file: Option<SocketFile>,
}

impl Bound {
    /// Takes the sockets out, in order; what stays behind still owns the socket file.
    pub fn take_sockets(&mut self) -> Vec<ListenSocket> {
        std::mem::take(&mut self.sockets)
    }
}

/// One listening socket, ready for `from_std` of tokio's listeners.
#[derive(Debug)]
pub enum ListenSocket {
    /// A TCP listener.
    Tcp(std::net::TcpListener),
    /// A unix listener.
    Unix(UnixListener),
}

/// Why an address cannot be listened on; displays as one line that names the address and the reason.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub url: ListenUrl,
    /// What the kernel said.
    pub source: io::Error,
    /// Who holds it, when it is a TCP port in use.
    pub occupant: Option<Occupant>,
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.url)?;
        match (&self.occupant, self.source.kind()) {
            (Some(occupant), _) => write!(f, "in use by {occupant}"),
            (None, io::ErrorKind::AddrNotAvailable) => {
                f.write_str("no interface of this machine has that address")
            }
            (None, io::ErrorKind::PermissionDenied) if self.is_low_port() => {
                f.write_str("permission denied (a port below 1024 needs CAP_NET_BIND_SERVICE)")
            }
            _ => write!(f, "{}", self.source),
        }
    }
}

impl BindError {
    fn is_low_port(&self) -> bool {
        matches!(self.url.at, ListenAddress::Tcp(addr) if addr.port() < 1024)
    }
}

/// Binds every address for `workers` workers. A reload passes only the addresses it adds, and in `own` those that this
/// process has open: one of them may cover a new one, as when 127.0.0.1 gives way to 0.0.0.0 on the same port.
///
/// # Errors
/// One for each address that cannot be had; then nothing stays bound.
pub fn bind_all(
    urls: &[ListenUrl],
    workers: NonZeroUsize,
    own: &[SocketAddr],
) -> Result<Vec<Bound>, Vec<BindError>> {
    let mut bound = Vec::with_capacity(urls.len());
    let mut errors = Vec::new();
    for url in urls {
        match bind(url, workers, own) {
            Ok(one) => bound.push(one),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

/// Binds one address for `workers` workers.
///
/// # Errors
/// When it cannot be had; then nothing stays bound.
pub fn bind(
    url: &ListenUrl,
    workers: NonZeroUsize,
    own: &[SocketAddr],
) -> Result<Bound, BindError> {
    let result = match &url.at {
        ListenAddress::Tcp(addr) => bind_tcp(*addr, workers, own),
        ListenAddress::Unix(path) => bind_unix(path, workers),
    };
    let named = |bound: Bound| Bound { url: ListenUrl { tls: url.tls, ..bound.url }, ..bound };
    result.map(named).map_err(|source| BindError {
        url: url.clone(),
        occupant: occupant_of(url, &source),
        source,
    })
}

fn occupant_of(url: &ListenUrl, error: &io::Error) -> Option<Occupant> {
    match &url.at {
        ListenAddress::Tcp(addr) if error.kind() == io::ErrorKind::AddrInUse => {
            Some(occupant::of_tcp(*addr))
        }
        _ => None,
    }
}

fn bind_tcp(addr: SocketAddr, workers: NonZeroUsize, own: &[SocketAddr]) -> io::Result<Bound> {
    let first = tcp_socket(addr)?;
    if own.iter().any(|own| own.port() == addr.port() && *own != addr) {
        // Our own sockets have the option on, so these may stand beside them; a stranger's still may not.
        first.set_reuse_port(true)?;
    }
    claim(&first, addr)?;
    first.set_reuse_port(true)?;
    let addr = real_address(&first)?;
    let mut sockets = vec![ListenSocket::Tcp(first.into())];
    for _ in 1..workers.get() {
        let next = tcp_socket(addr)?;
        next.set_reuse_port(true)?;
        claim(&next, addr)?;
        sockets.push(ListenSocket::Tcp(next.into()));
    }
    Ok(Bound { url: ListenUrl::tcp(addr), sockets, _file: None })
}

fn tcp_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    // Connections of the last run that wait in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds and listens in one step: two sockets that are only bound do not exclude each other under `SO_REUSEADDR`.
fn claim(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)
}

fn real_address(socket: &Socket) -> io::Result<SocketAddr> {
    let unexpected = || io::Error::other("the kernel gave the socket no IP address");
    socket.local_addr()?.as_socket().ok_or_else(unexpected)
}

fn bind_unix(path: &Path, workers: NonZeroUsize) -> io::Result<Bound> {
    let (first, file) = socket_file::listen(path, None)?;
    let mut sockets = Vec::with_capacity(workers.get());
    for _ in 1..workers.get() {
        sockets.push(ListenSocket::Unix(first.try_clone()?));
    }
    sockets.push(ListenSocket::Unix(first));
    Ok(Bound { url: ListenUrl::unix(path.to_owned()), sockets, _file: Some(file) })
}

#[cfg(test)]
mod tests;
