//! Listening sockets that were open before this process was: systemd's descriptor store, and
//! `.socket` units.
//!
//! What we put into the store is named after the address as the settings write it ([`store_name`]),
//! so that a port 0 finds the port it had; the scheme is no part of it, for it may change over a
//! restart. A socket comes back when its name and the address that it is really bound to agree with
//! a setting. Sockets of other names come from a `.socket` unit and are matched by their address
//! alone. What nothing asks for is told apart by [`Inherited::leftovers`]: ours are taken out of
//! the store, a unit's is complained about, for its connections would wait for ever.
//!
//! Every socket that came is used: one of them closed, or left aside, is a queue of clients that
//! nobody answers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use socket2::{Socket, Type};

use super::socket_file::SocketFile;
use crate::config::ListenAddress;

/// What the names of our sockets in the store begin with.
const PREFIX: &str = "listen-";

/// Longest name that systemd takes, in bytes.
const NAME_LIMIT: usize = 255;

/// The sockets that came with the start and that no address has asked for yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Passed>,
}

/// One of them.
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

/// What nothing asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Leftover {
    /// A name in the descriptor store.
    Stored(String),
    /// The name and the address of a `.socket` unit's socket.
    OfUnit(String, ListenAddress),
}

impl Inherited {
    /// Takes what systemd passed to this process (`LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`).
    /// Nothing at the second call, for the descriptors have an owner then. What cannot be used is
    /// logged and closed.
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
                    tracing::warn!(%error, name, "the service manager passed something that is no use");
                }
            }
        }
        Self { sockets }
    }

    /// Whether nothing is left, or nothing came.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Takes out all sockets of this address.
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

    /// The TCP addresses of what was not taken yet. They stay in use until systemd lets go of them.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.sockets.iter().filter_map(|passed| match passed.address {
            ListenAddress::Tcp(address) => Some(address),
            ListenAddress::Unix(_) => None,
        });
        addresses.collect()
    }

    /// Closes what was not taken, removes the socket files that we made for it, and tells what it
    /// was; each name once.
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

/// The name under which the sockets of an address are stored: printable ASCII without colons, as
/// systemd wants it.
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

/// Checks that a socket listens, and makes it one that does not block.
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
    // SAFETY: sd-notify has seen that it is open and meant for this process, and `from_env` comes
    // here once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests;
