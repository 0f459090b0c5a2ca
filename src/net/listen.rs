//! Listening sockets, one for each worker, bound before anything is used.
//!
//! The workers' TCP sockets share one port through `SO_REUSEPORT`, and that is also the danger: two
//! daemons of one user could share a port without a word. So the first socket of each address is
//! bound and set listening *without* the option, which only one process can do; only then is the
//! option switched on for it, and the others join. There is no instant at which two daemons could
//! both succeed, nor one at which the port is free again.
//!
//! `[::]` accepts IPv4 too, as in Go, whatever the `bindv6only` sysctl says. `0.0.0.0` accepts IPv4
//! only (Go would open IPv6 as well, which the address does not suggest).
//!
//! Sockets that systemd has kept for us ([`Inherited`]) become [`Bound`]s here too; nothing else
//! needs to know where a socket came from. There may be more of them than workers, or fewer. Each
//! has a queue of its own in the kernel, so all of them are handed on, and a worker may get
//! several. Missing ones are bound anew to the same port, or share a queue when they may not join
//! it (a `.socket` unit's port belongs to root).
//!
//! The sockets of a unix address are duplicates of one; its file goes when the [`Bound`] is
//! dropped, unless a service manager keeps the socket for the next run ([`Bound::keep_file`]).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, Socket, Type};

use super::inherited::{Inherited, Taken};
use super::port_owner::{self, PortOwner};
use super::socket_file::{self, BACKLOG, SocketFile};
use crate::config::{ListenAddress, ListenUrl};

/// Permissions of a unix socket for clients: everybody on this machine may connect, as with
/// 127.0.0.1, whatever the umask (the unit's would admit only the daemon itself). The permissions
/// of the directory may be stricter.
const EVERYBODY: u32 = 0o666;

/// One address with its sockets, one for each worker.
#[derive(Debug)]
pub struct Bound {
    /// The address as bound: with the real port where the settings said 0.
    pub url: ListenUrl,
    /// The sockets, non-blocking and close-on-exec, already listening; at least one for each
    /// worker.
    pub sockets: Vec<ListenSocket>,
    /// Whether they belong to a `.socket` unit, which passes them again at the next start.
    pub of_unit: bool,
    /// Removes the socket file when this is dropped; `None` for TCP, and for a unit's socket.
    file: Option<SocketFile>,
}

impl Bound {
    /// Takes the sockets, in order. The socket file still belongs to `self`.
    pub fn take_sockets(&mut self) -> Vec<ListenSocket> {
        std::mem::take(&mut self.sockets)
    }

    /// Sets whether a socket file is left behind when this is dropped, because another process goes
    /// on listening on it.
    pub fn keep_file(&mut self, keep: bool) {
        if let Some(file) = &mut self.file {
            file.keep(keep);
        }
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

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Why an address cannot be listened on. Displays as one line with the address and the reason.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub url: ListenUrl,
    /// The kernel's error.
    pub source: io::Error,
    /// The process that holds an address in use; `None` when `source` names it or has another
    /// reason.
    pub owner: Option<PortOwner>,
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.url)?;
        match (&self.owner, self.source.kind()) {
            (Some(owner), _) => write!(f, "in use by {owner}"),
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

/// Binds every address for `workers` workers. A reload passes only the addresses it adds, and in
/// `own` those that this process has open: they may overlap, as when 0.0.0.0 replaces 127.0.0.1 on
/// the same port. Sockets in `inherited` are taken from there instead of being bound.
///
/// # Errors
/// Returns one error for each address that cannot be bound; then nothing stays bound.
pub fn bind_all(
    urls: &[ListenUrl],
    workers: NonZeroUsize,
    own: &[SocketAddr],
    inherited: &mut Inherited,
) -> Result<Vec<Bound>, Vec<BindError>> {
    let mut bound = Vec::with_capacity(urls.len());
    let mut errors = Vec::new();
    for url in urls {
        match bind(url, workers, own, inherited.take(&url.at)) {
            Ok(one) => bound.push(one),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

/// Binds one address for `workers` workers, or uses the sockets in `taken`.
///
/// # Errors
/// When the address cannot be bound; then nothing stays bound.
pub fn bind(
    url: &ListenUrl,
    workers: NonZeroUsize,
    own: &[SocketAddr],
    taken: Taken,
) -> Result<Bound, BindError> {
    let result = match &url.at {
        ListenAddress::Tcp(_) if !taken.sockets.is_empty() => reuse_tcp(taken, workers),
        ListenAddress::Tcp(addr) => bind_tcp(*addr, workers, own),
        ListenAddress::Unix(path) => bind_unix(path, workers, taken),
    };
    let named = |bound: Bound| Bound { url: ListenUrl { tls: url.tls, ..bound.url }, ..bound };
    result.map(named).map_err(|source| BindError {
        url: url.clone(),
        owner: owner_of(url, &source),
        source,
    })
}

/// Returns the error that [`bind`] would return because another process listens on the address. No
/// client can connect to the socket that this tries, and a stale socket file is left as it is.
pub fn taken(url: &ListenUrl) -> Option<BindError> {
    let (owner, source) = match &url.at {
        ListenAddress::Tcp(addr) => {
            // Bind only if a listener seems to conflict: whether it really does depends on its
            // socket options.
            let owner = port_owner::of_tcp(*addr);
            let is_free = owner == PortOwner::Unknown;
            let error = if is_free { None } else { try_bind(*addr).err() };
            (Some(owner), error.filter(|error| error.kind() == io::ErrorKind::AddrInUse)?)
        }
        ListenAddress::Unix(path) => {
            let live = std::os::unix::net::UnixStream::connect(path).ok()?;
            (Some(port_owner::of_unix_peer(&live)), io::ErrorKind::AddrInUse.into())
        }
    };
    Some(BindError { url: url.clone(), source, owner })
}

/// Binds without listening: this fails if a listener conflicts, and no client can connect.
fn try_bind(addr: SocketAddr) -> io::Result<()> {
    tcp_socket(addr)?.bind(&addr.into())
}

fn owner_of(url: &ListenUrl, error: &io::Error) -> Option<PortOwner> {
    match &url.at {
        ListenAddress::Tcp(addr) if error.kind() == io::ErrorKind::AddrInUse => {
            Some(port_owner::of_tcp(*addr))
        }
        _ => None,
    }
}

fn bind_tcp(addr: SocketAddr, workers: NonZeroUsize, own: &[SocketAddr]) -> io::Result<Bound> {
    let first = tcp_socket(addr)?;
    if own.iter().any(|own| own.port() == addr.port() && *own != addr) {
        // Our own sockets have the option set, so the new one may join them; a stranger's still may
        // not.
        first.set_reuse_port(true)?;
    }
    claim(&first, addr)?;
    first.set_reuse_port(true)?;
    let addr = real_address(&first)?;
    let mut sockets = vec![ListenSocket::Tcp(first.into())];
    for _ in 1..workers.get() {
        sockets.push(ListenSocket::Tcp(join(addr)?.into()));
    }
    Ok(Bound { url: ListenUrl::tcp(addr), sockets, of_unit: false, file: None })
}

/// Uses sockets that are already open, at least one, and adds the missing ones.
fn reuse_tcp(taken: Taken, workers: NonZeroUsize) -> io::Result<Bound> {
    let Taken { mut sockets, of_unit } = taken;
    let addr = real_address(&sockets[0])?;
    for at in 0..workers.get().saturating_sub(sockets.len()) {
        // Only the user who bound the port may join it; for others, the queue is shared.
        let joined = if of_unit { None } else { join(addr).ok() };
        let next = joined.map_or_else(|| sockets[at].try_clone(), Ok)?;
        sockets.push(next);
    }
    let sockets = sockets.into_iter().map(|socket| ListenSocket::Tcp(socket.into())).collect();
    Ok(Bound { url: ListenUrl::tcp(addr), sockets, of_unit, file: None })
}

/// Binds one more socket to a port of this process (or of its predecessor).
fn join(addr: SocketAddr) -> io::Result<Socket> {
    let socket = tcp_socket(addr)?;
    socket.set_reuse_port(true)?;
    claim(&socket, addr)?;
    Ok(socket)
}

fn tcp_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    // Connections of the last run in TIME_WAIT must not prevent a start.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds and listens in one step: under `SO_REUSEADDR`, two sockets that are only bound do not
/// exclude each other.
fn claim(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)
}

fn real_address(socket: &Socket) -> io::Result<SocketAddr> {
    let unexpected = || io::Error::other("the kernel gave the socket no IP address");
    socket.local_addr()?.as_socket().ok_or_else(unexpected)
}

fn bind_unix(path: &Path, workers: NonZeroUsize, taken: Taken) -> io::Result<Bound> {
    let Taken { sockets, of_unit } = taken;
    let mut sockets: Vec<UnixListener> = sockets.into_iter().map(Into::into).collect();
    let stored = !of_unit && !sockets.is_empty();
    let mut file = if stored { SocketFile::of(path).ok() } else { None };
    // No client can reach a stored socket whose file is gone.
    if !of_unit && file.is_none() {
        let (first, made) = socket_file::listen(path, Some(EVERYBODY))?;
        sockets = vec![first];
        file = Some(made);
    }
    for at in 0..workers.get().saturating_sub(sockets.len()) {
        sockets.push(sockets[at].try_clone()?);
    }
    let sockets = sockets.into_iter().map(ListenSocket::Unix).collect();
    Ok(Bound { url: ListenUrl::unix(path.to_owned()), sockets, of_unit, file })
}

#[cfg(test)]
mod tests;
