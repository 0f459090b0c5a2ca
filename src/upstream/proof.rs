//! Records which addresses of an endpoint have proved that they belong to the pinned cluster.
//!
//! A member list says where members should be, not what answers there: an address may be another
//! cluster's by mistake, or become so when a member dies and something else takes its port. So a
//! request goes only to an address that has proved its cluster. The proof is `cluster_id` in the
//! header of an answer ([`grpc`], or [`http`] where a port speaks no gRPC). It holds for the
//! address as long as any connection made under it stays open; after that the address must prove
//! itself again before it gets a request.
//!
//! [`WorkerEndpoint`](super::worker_endpoint::WorkerEndpoint) checks this when it makes a
//! connection, so a request on an open connection pays nothing. One table serves all workers and
//! the prober. It is locked when a connection is made or closed, and never across an await.

pub mod grpc;
pub mod http;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How long a failed proof counts for its address without another attempt: requests that try every
/// member must not cause a storm of proofs.
const FAILURE_STANDS: Duration = Duration::from_secs(1);

/// How long an address that failed is dialled after the other addresses of its name.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(60);

/// Why an address has no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Another cluster answers at the address.
    #[error(
        "cluster {theirs:x} answers there, but this proxy serves cluster {ours:x}: it gets no requests; if the cluster \
         was rebuilt, set accept-cluster-id = \"{theirs:x}\""
    )]
    Foreign {
        /// The ID in its answer.
        theirs: u64,
        /// The pinned ID.
        ours: u64,
    },
    /// It answers, but its answers name no cluster.
    #[error(
        "its answers do not name its cluster, so it gets no requests ({0}); \
         require-cluster-proof = false would send them there anyway"
    )]
    Nameless(String),
    /// It says that it cannot answer now.
    #[error("it cannot name its cluster yet: {0}")]
    NotNow(String),
    /// No answer in time.
    #[error("no answer within {0:?} when asked to name its cluster")]
    NoAnswer(Duration),
    /// It refused our certificate, or the lack of one, in TLS.
    #[error("{0}")]
    TurnedAway(String),
    /// The connection broke, or there was none.
    #[error("{0}")]
    Broken(String),
}

impl ProofError {
    /// Returns what was wrong, without the remedy.
    pub fn detail(&self) -> String {
        match self {
            Self::Nameless(detail) => detail.clone(),
            why => why.to_string(),
        }
    }

    /// Returns whether it was a definite answer, which another attempt would most likely get again.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Foreign { .. } | Self::Nameless(_))
    }
}

/// Returns whether this HTTP status comes from a proxy that passes nothing on just now, and so says
/// nothing about what is behind it.
fn is_passing(status: u16) -> bool {
    matches!(status, 429 | 502..=504)
}

/// The addresses of one endpoint, each with the state of its proof.
#[derive(Debug)]
pub struct Proofs {
    cluster: u64,
    table: Arc<Table>,
}

#[derive(Debug, Default)]
struct Table {
    addresses: Mutex<HashMap<SocketAddr, Standing>>,
    /// Wakes callers that wait for another connection's proof.
    settled: Notify,
}

#[derive(Debug)]
enum Standing {
    /// It is being asked.
    Proving,
    /// It has proved itself. Holds the sockets of connections made under the proof that we have not
    /// closed.
    Proved(HashSet<RawFd>),
    /// It did not prove itself: when, and why.
    Failed(Instant, ProofError),
    /// It needs no proof: a test's stand-in for a member cannot give one.
    #[cfg(test)]
    Exempt,
}

/// What a new connection may do.
pub enum Admission<'a> {
    /// Carry requests.
    Admitted(Option<Witness>),
    /// Nothing: the address failed to prove itself less than a second ago.
    Refused(ProofError),
    /// Wait for the proof that another connection is getting.
    Wait(Notified<'a>),
    /// Get the proof itself.
    Prove(Attempt),
}

impl Proofs {
    /// Creates an empty table for addresses that should belong to `cluster`.
    pub fn new(cluster: u64) -> Self {
        Self { cluster, table: Arc::default() }
    }

    /// Returns the ID of the pinned cluster.
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// Decides what a connection to `address` whose socket is `socket` may do.
    pub fn admit(&self, address: SocketAddr, socket: RawFd) -> Admission<'_> {
        let settled = self.table.settled.notified();
        let mut addresses = self.table.lock();
        match addresses.get_mut(&address) {
            Some(Standing::Proving) => return Admission::Wait(settled),
            Some(Standing::Proved(witnesses)) => {
                if any_is_open(witnesses) {
                    witnesses.insert(socket);
                    drop(addresses);
                    return Admission::Admitted(Some(self.witness(address, socket)));
                }
            }
            Some(Standing::Failed(at, why)) if at.elapsed() < FAILURE_STANDS => {
                return Admission::Refused(why.clone());
            }
            #[cfg(test)]
            Some(Standing::Exempt) => return Admission::Admitted(None),
            Some(Standing::Failed(..)) | None => {}
        }
        // A name may resolve to ever new addresses, so old ones are dropped here.
        addresses.retain(|_, standing| match standing {
            Standing::Proved(witnesses) => !witnesses.is_empty(),
            Standing::Failed(at, _) => at.elapsed() < FAILURE_REMEMBERED,
            _ => true,
        });
        addresses.insert(address, Standing::Proving);
        drop(addresses);
        Admission::Prove(Attempt { table: self.table.clone(), address, is_over: false })
    }

    /// Returns whether an address other than `address` is proved, by a connection that is open.
    pub fn other_is_proved(&self, address: SocketAddr) -> bool {
        self.table.lock().iter_mut().any(|(other, standing)| match standing {
            Standing::Proved(witnesses) => *other != address && any_is_open(witnesses),
            _ => false,
        })
    }

    /// Returns the addresses that failed to prove themselves in the last minute.
    pub fn failed(&self) -> Vec<SocketAddr> {
        let addresses = self.table.lock();
        let has_failed = |standing: &Standing| match standing {
            Standing::Failed(at, _) => at.elapsed() < FAILURE_REMEMBERED,
            _ => false,
        };
        let failed = addresses.iter().filter(|(_, standing)| has_failed(standing));
        failed.map(|(address, _)| *address).collect()
    }

    /// Returns why a proof failed within the last second, unless another address is proved or being
    /// asked.
    pub fn recent_failure(&self) -> Option<ProofError> {
        let addresses = self.table.lock();
        let mut failure = None;
        for standing in addresses.values() {
            match standing {
                Standing::Failed(at, why) if at.elapsed() < FAILURE_STANDS => {
                    failure = Some(why.clone());
                }
                Standing::Failed(..) => {}
                _ => return None,
            }
        }
        failure
    }

    /// Revokes all proofs: the member may have gone without closing its connections. Connections
    /// that are open go on.
    pub fn forget(&self) {
        self.table.lock().retain(|_, standing| !matches!(standing, Standing::Proved(_)));
    }

    /// Exempts a test's address from the proof.
    #[cfg(test)]
    pub fn exempt(&self, address: SocketAddr) {
        self.table.lock().insert(address, Standing::Exempt);
    }

    fn witness(&self, address: SocketAddr, socket: RawFd) -> Witness {
        Witness { table: self.table.clone(), address, socket }
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Standing>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, address: SocketAddr, standing: Option<Standing>) {
        let mut addresses = self.lock();
        match standing {
            Some(standing) => addresses.insert(address, standing),
            None => addresses.remove(&address),
        };
        drop(addresses);
        self.settled.notify_waiters();
    }
}

/// The one attempt to get an address's proof that is under way. When dropped before its end, it
/// leaves the address as if it had not been asked.
#[derive(Debug)]
pub struct Attempt {
    table: Arc<Table>,
    address: SocketAddr,
    is_over: bool,
}

impl Attempt {
    /// Returns the address that is to prove itself.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the attempt with a proof, which came over the connection whose socket is `socket`.
    pub fn succeed(mut self, socket: RawFd) -> Witness {
        self.is_over = true;
        self.table.settle(self.address, Some(Standing::Proved(HashSet::from([socket]))));
        Witness { table: self.table.clone(), address: self.address, socket }
    }

    /// Ends the attempt without a proof.
    pub fn fail(mut self, why: ProofError) {
        self.is_over = true;
        self.table.settle(self.address, Some(Standing::Failed(Instant::now(), why)));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over {
            self.table.settle(self.address, None);
        }
    }
}

/// Keeps its address proved while it exists and its socket is open. Must be dropped before the
/// socket is closed.
#[derive(Debug)]
pub struct Witness {
    table: Arc<Table>,
    address: SocketAddr,
    socket: RawFd,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(Standing::Proved(witnesses)) = self.table.lock().get_mut(&self.address) {
            witnesses.remove(&self.socket);
        }
    }
}

/// Returns whether the other side keeps one of these sockets open, and removes those that it has
/// closed.
///
/// Nothing reads idle connections, and this thread cannot read those of other workers, so only the
/// kernel can tell.
fn any_is_open(sockets: &mut HashSet<RawFd>) -> bool {
    while let Some(&socket) = sockets.iter().next() {
        if is_open(socket) {
            return true;
        }
        sockets.remove(&socket);
    }
    false
}

#[expect(
    unsafe_code,
    reason = "the socket is another thread's, which closes it only after dropping its witness"
)]
fn is_open(socket: RawFd) -> bool {
    // SAFETY: sockets of witnesses are open: a witness takes its socket out of the set, under the
    // lock that our caller holds, before the socket is closed.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    // HUP and ERR are always reported; nix has no name for RDHUP.
    let closed = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    poll(&mut [PollFd::new(socket, closed)], PollTimeout::ZERO) == Ok(0)
}

#[cfg(test)]
mod tests;
