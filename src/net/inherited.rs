//! Listening sockets that were open before this process started: from systemd's descriptor store
//! and from `.socket` units.
//!
//! Sockets in the store are named after the address as written in the settings ([`store_name`]), so
//! that port 0 gets the port it had before. The scheme is not part of the name, because it may
//! change over a restart. A stored socket is reused when its name and the address that it is really
//! bound to match a setting. Sockets with other names come from a `.socket` unit and are matched by
//! their address alone. Sockets that no setting asks for are reported by [`Inherited::leftovers`]:
//! ours are removed from the store; a unit's is logged, because its connections would wait forever.
//!
//! Every matching socket is used: each has a queue of its own, and the clients in the queue of an
//! unused one would get no answer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use socket2::{Socket, Type};

use super::socket_file::SocketFile;
use crate::config::ListenAddress;

/// Prefix of the names of our sockets in the store.
const PREFIX: &str = "listen-";

/// Longest name that systemd accepts, in bytes.
const NAME_LIMIT: usize = 255;

/// The sockets passed at the start that no address has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Passed>,
}

/// One socket passed at the start.
#[derive(Debug)]
struct Passed {
    name: String,
    address: ListenAddress,
    socket: Socket,
}

/// The sockets of one address.
#[derive(Debug, Default)]
pub struct Taken {
    /// Non-blocking and close-on-exec, already listening.
    pub sockets: Vec<Socket>,
    /// Whether a `.socket` unit holds them: systemd bound them, and nobody else can join their
    /// port.
    pub of_unit: bool,
}

/// A socket that no setting asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Leftover {
    /// A name in the descriptor store.
    Stored(String),
    /// The name and the address of a `.socket` unit's socket.
    OfUnit(String, ListenAddress),
}

impl Inherited {
    /// Takes the sockets that systemd passed to this process (`LISTEN_PID`, `LISTEN_FDS`,
    /// `LISTEN_FDNAMES`). A second call returns none, because the descriptors have an owner then.
    /// Unusable descriptors are logged and closed.
    pub fn from_env() -> Self {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Relaxed) {
            return Self::default();
        }
        match sd_notify::listen_fds_with_names() {
            Ok(passed) => Self::of(passed.map(|(fd, name)| (name, adopt(fd)))),
            Err(error) => {
                tracing::warn!(%error, "cannot take over the sockets that the service manager passed");
                Self::default()
            }
        }
    }

    fn of(passed: impl Iterator<Item = (String, OwnedFd)>) -> Self {
        let mut sockets = Vec::new();
        for (name, fd) in passed {
            match listening(fd.into()) {
                Ok((address, socket)) => sockets.push(Passed { name, address, socket }),
                Err(error) => {
                    tracing::warn!(%error, name, "cannot use a descriptor that the service manager passed");
                }
            }
        }
        Self { sockets }
    }

    /// Returns whether no socket is left.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Takes all sockets of the address.
    pub fn take(&mut self, asked: &ListenAddress) -> Taken {
        let name = store_name(asked);
        let (taken, rest) = std::mem::take(&mut self.sockets)
            .into_iter()
            .partition::<Vec<_>, _>(|passed| passed.serves(asked, &name));
        self.sockets = rest;
        Taken {
            of_unit: taken.iter().any(|passed| !passed.is_stored()),
            sockets: taken.into_iter().map(|passed| passed.socket).collect(),
        }
    }

    /// Returns the TCP addresses of the sockets that were not taken yet. They stay in use until
    /// systemd closes its copies.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.sockets.iter().filter_map(|passed| match passed.address {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) => None,
        });
        addresses.collect()
    }

    /// Closes the sockets that were not taken and removes the files of stored unix sockets. Returns
    /// what was left, without duplicates.
    pub fn leftovers(self) -> Vec<Leftover> {
        let mut left = Vec::new();
        for passed in self.sockets {
            if let (true, ListenAddress::Unix(path)) = (passed.is_stored(), &passed.address) {
                drop(SocketFile::of(path));
            }
            let one = match passed.is_stored() {
                true => Leftover::Stored(passed.name),
                false => Leftover::OfUnit(passed.name, passed.address),
            };
            if !left.contains(&one) {
                left.push(one);
            }
        }
        left
    }
}

impl Passed {
    fn is_stored(&self) -> bool {
        self.name.starts_with(PREFIX)
    }

    fn serves(&self, asked: &ListenAddress, name: &str) -> bool {
        let same_address = match (&self.address, asked) {
            (ListenAddress::Tcp(real), ListenAddress::Tcp(asked)) => {
                real == asked || self.is_stored() && asked.port() == 0 && real.ip() == asked.ip()
            }
            (real, asked) => real == asked,
        };
        same_address && (self.name == name || !self.is_stored())
    }
}

/// Returns the name under which the sockets of an address are stored: printable ASCII without
/// colons, as systemd requires.
pub fn store_name(asked: &ListenAddress) -> String {
    let address = match asked {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => path.display().to_string(),
    };
    let plain = |c: char| if c.is_ascii_graphic() && c != ':' { c } else { '_' };
    let mut name: String = PREFIX.chars().chain(address.chars().map(plain)).collect();
    name.truncate(NAME_LIMIT);
    name
}

/// Checks that a socket listens, and makes it non-blocking.
fn listening(socket: Socket) -> io::Result<(ListenAddress, Socket)> {
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::other("not a stream socket that listens"));
    }
    let local = socket.local_addr()?;
    let address = match (local.as_socket(), local.as_pathname()) {
        (Some(address), _) => ListenAddress::Tcp(address),
        (None, Some(path)) => ListenAddress::Unix(path.to_owned()),
        (None, None) => return Err(io::Error::other("neither TCP nor a path")),
    };
    socket.set_nonblocking(true)?;
    Ok((address, socket))
}

#[expect(
    unsafe_code,
    reason = "a number in the environment is all that systemd tells us of a descriptor"
)]
fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: sd-notify has checked that the descriptor is open and meant for this process, and
    // `from_env` runs this only once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests;
