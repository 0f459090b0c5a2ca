//! Which addresses of an endpoint have proved that they belong to the pinned cluster.
//!
//! A list says where members should be, not who answers there: an address may be another cluster's
//! by mistake, or become so when a member dies and something else takes its port. So a request goes
//! only to an address that has proved its cluster. The proof is `cluster_id` in the header of an
//! answer ([`grpc`], or [`http`] where a port speaks no gRPC). It belongs to the address for as
//! long as a connection that was made under it stays open; after that the address proves itself
//! again before it gets a request.
//!
//! The gate is in [`WorkerEndpoint`](super::worker_endpoint::WorkerEndpoint), where connections are
//! made: a request on an open connection pays nothing. One table serves all workers and the prober.
//! It is locked when a connection is made or closed, and never while anything is awaited.

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

/// How long a failed proof answers for the address: requests that try every member must not become
/// a storm of proofs.
const FAILURE_STANDS: Duration = Duration::from_secs(1);

/// How long an address that failed is dialled after the others of its name.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(60);

/// Why an address has no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Another cluster answers there.
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
    /// It answers, but nothing that it says names a cluster.
    #[error(
        "it cannot be told which cluster it belongs to, so it gets no requests ({0}); require-cluster-proof = false \
         would let them go there all the same"
    )]
    Nameless(String),
    /// It says that it cannot answer now.
    #[error("it cannot say yet which cluster it belongs to: {0}")]
    NotNow(String),
    /// No answer in time.
    #[error("no answer within {0:?} to the question which cluster it belongs to")]
    NoAnswer(Duration),
    /// It turned us away in TLS.
    #[error("{0}")]
    TurnedAway(String),
    /// The connection broke, or there was none.
    #[error("{0}")]
    Broken(String),
}

impl ProofError {
    /// What was wrong, without what to do about it.
    pub fn detail(&self) -> String {
        match self {
            Self::Nameless(detail) => detail.clone(),
            why => why.to_string(),
        }
    }

    /// Whether it was an answer, which another try will most likely repeat.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Foreign { .. } | Self::Nameless(_))
    }
}

/// Whether this HTTP status is a proxy's that lets nobody through just now, and so says nothing of
/// who is behind it.
fn is_passing(status: u16) -> bool {
    matches!(status, 429 | 502..=504)
}

/// The addresses of one endpoint and how far each has come.
#[derive(Debug)]
pub struct Proofs {
    cluster: u64,
    table: Arc<Table>,
}

#[derive(Debug, Default)]
struct Table {
    addresses: Mutex<HashMap<SocketAddr, Standing>>,
    /// Wakes those who wait for another's proof.
    settled: Notify,
}

#[derive(Debug)]
enum Standing {
    /// Somebody is asking it.
    Proving,
    /// It has proved itself; the connections that were made under the proof and are not closed by
    /// us.
    Proved(HashSet<RawFd>),
    /// It has not, and why.
    Failed(Instant, ProofError),
    /// Needs no proof: what tests put in a member's place cannot give one.
    #[cfg(test)]
    Exempt,
}

/// What a new connection may do.
pub enum Admission<'a> {
    /// Carry requests.
    Admitted(Option<Witness>),
    /// Nothing: the address failed to prove itself a moment ago.
    Refused(ProofError),
    /// Wait for the proof that another connection is having.
    Wait(Notified<'a>),
    /// Have the proof.
    Prove(Attempt),
}

impl Proofs {
    /// Makes an empty table for addresses that should belong to `cluster`.
    pub fn new(cluster: u64) -> Self {
        Self { cluster, table: Arc::default() }
    }

    /// The pinned cluster.
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// Says what a connection to `address` may do whose socket is `socket`.
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
        // A name may have ever new addresses: those of the past are forgotten here.
        addresses.retain(|_, standing| match standing {
            Standing::Proved(witnesses) => !witnesses.is_empty(),
            Standing::Failed(at, _) => at.elapsed() < FAILURE_REMEMBERED,
            _ => true,
        });
        addresses.insert(address, Standing::Proving);
        drop(addresses);
        Admission::Prove(Attempt { table: self.table.clone(), address, is_over: false })
    }

    /// Whether an address other than `address` is proved, by a connection that is open.
    pub fn other_is_proved(&self, address: SocketAddr) -> bool {
        self.table.lock().iter_mut().any(|(other, standing)| match standing {
            Standing::Proved(witnesses) => *other != address && any_is_open(witnesses),
            _ => false,
        })
    }

    /// The addresses that failed to prove themselves in the last minute.
    pub fn failed(&self) -> Vec<SocketAddr> {
        let addresses = self.table.lock();
        let has_failed = |standing: &Standing| match standing {
            Standing::Failed(at, _) => at.elapsed() < FAILURE_REMEMBERED,
            _ => false,
        };
        let failed = addresses.iter().filter(|(_, standing)| has_failed(standing));
        failed.map(|(address, _)| *address).collect()
    }

    /// Why the last proof failed, if that was a moment ago and no address is proved.
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

    /// Takes all proofs back: whoever answered here may be gone without a word. Connections that
    /// are open go on.
    pub fn forget(&self) {
        self.table.lock().retain(|_, standing| !matches!(standing, Standing::Proved(_)));
    }

    /// Lets a test's address do without a proof.
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

/// The one proof that an address is having. Dropped before its end it leaves the address as if
/// nobody had asked.
#[derive(Debug)]
pub struct Attempt {
    table: Arc<Table>,
    address: SocketAddr,
    is_over: bool,
}

impl Attempt {
    /// The address that is to prove itself.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends with a proof, had over the connection whose socket is `socket`.
    pub fn succeed(mut self, socket: RawFd) -> Witness {
        self.is_over = true;
        self.table.settle(self.address, Some(Standing::Proved(HashSet::from([socket]))));
        Witness { table: self.table.clone(), address: self.address, socket }
    }

    /// Ends without one.
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

/// Keeps its address proved while it lives and its socket is open. Must be dropped before the
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

/// Whether the other side keeps one of these open; those that it has closed are left out from then
/// on.
///
/// Idle connections are read by nobody, and those of other workers cannot be: only the kernel knows
/// of all of them.
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
    reason = "the socket is another thread's, who closes it only after its witness is gone"
)]
fn is_open(socket: RawFd) -> bool {
    // SAFETY: sockets of witnesses are open: a witness takes its socket out of the set, under the
    // lock that our caller holds, before the socket is closed.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    // HUP and ERR are told unasked; nix has no name for this one.
    let closed = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    poll(&mut [PollFd::new(socket, closed)], PollTimeout::ZERO) == Ok(0)
}

#[cfg(test)]
mod tests;
