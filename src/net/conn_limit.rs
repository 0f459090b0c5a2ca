//! Limits the number of connected clients, and of their connections to members beyond one each.
//!
//! A client needs up to three descriptors: its own, and one or two to members. If clients took all
//! descriptors, none would be left to reach members. So only a part of the process's descriptors is
//! for clients; further ones wait in the kernel's queue until another client leaves. Another part
//! is for clients that have several exchanges with members at a time. A client may hold at most as
//! many of these as it leaves free, so that one client cannot take what the next one needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use nix::sys::resource::{Resource, getrlimit};

/// Descriptors reserved for everything but clients: listeners, files, peers, probes and pooled
/// connections to members.
const RESERVE: u64 = 64;

/// Counts the clients of all workers.
#[derive(Debug, Clone, Default)]
pub struct ConnLimit(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    clients: AtomicUsize,
    /// The most clients at a time since that was last asked.
    peak: AtomicUsize,
    extra: AtomicUsize,
    /// Number of listeners that cannot accept.
    closed: AtomicUsize,
    /// Clients that may still be accepted until memory is checked again; `i64::MAX` for no limit.
    admitted: AtomicI64,
    /// Replaces the process's descriptor limit in tests.
    descriptors: Option<u64>,
}

/// Why no further client is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The limit of open files.
    Descriptors,
    /// A limit of memory.
    Memory,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            clients: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            extra: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            admitted: AtomicI64::new(i64::MAX),
            descriptors: None,
        }
    }
}

impl ConnLimit {
    /// Creates a limit as if the process could open `descriptors` descriptors.
    #[cfg(test)]
    pub fn with_descriptors(descriptors: u64) -> Self {
        Self(Arc::new(Counts { descriptors: Some(descriptors), ..Counts::default() }))
    }

    /// Counts a client until the returned permit is dropped.
    pub fn acquire(&self) -> ConnPermit {
        let clients = self.0.clients.fetch_add(1, Relaxed) + 1;
        self.0.peak.fetch_max(clients, Relaxed);
        if self.0.admitted.load(Relaxed) != i64::MAX {
            self.0.admitted.fetch_sub(1, Relaxed);
        }
        ConnPermit(self.0.clone())
    }

    /// Checks whether one more client may be accepted.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn has_room(&self) -> Result<(), Full> {
        if self.0.admitted.load(Relaxed) <= 0 {
            return Err(Full::Memory);
        }
        let extra = self.0.extra.load(Relaxed);
        let has_room = self.0.clients.load(Relaxed) + extra / 2 < self.limit();
        has_room.then_some(()).ok_or(Full::Descriptors)
    }

    /// Returns the limit of clients while none has more than one connection to members.
    pub fn limit(&self) -> usize {
        most(self.0.descriptors())
    }

    /// Returns how many clients were connected at a time, at the most, since the last call.
    pub fn take_peak(&self) -> usize {
        let clients = self.0.clients.load(Relaxed);
        self.0.peak.swap(clients, Relaxed).max(clients)
    }

    /// Records that a listener cannot accept, until the returned guard is dropped.
    pub fn keep_waiting(&self) -> Waiting {
        self.0.closed.fetch_add(1, Relaxed);
        Waiting(self.0.clone())
    }

    /// Returns whether any listener cannot accept, so that clients may be waiting.
    pub fn waits(&self) -> bool {
        self.0.closed.load(Relaxed) > 0
    }

    /// Sets how many further clients there is memory for; `None` for no limit.
    pub fn admit(&self, clients: Option<u64>) {
        let clients =
            clients.map_or(i64::MAX, |clients| i64::try_from(clients).unwrap_or(i64::MAX));
        self.0.admitted.store(clients, Relaxed);
    }
}

impl Counts {
    /// Returns the soft limit of open files. Read each time, so that raising it with prlimit(1)
    /// takes effect.
    fn descriptors(&self) -> u64 {
        self.descriptors.unwrap_or_else(|| {
            getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
        })
    }

    /// Returns how many connections beyond one are left while clients hold `taken` of them.
    fn extra_left(&self, taken: usize) -> usize {
        let descriptors = self.descriptors();
        let clients = self.clients.load(Relaxed) as u64;
        let most = (descriptors / 4).min(descriptors.saturating_sub(RESERVE + 2 * clients));
        usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(taken)
    }
}

/// A connected client's permit.
#[derive(Debug)]
pub struct ConnPermit(Arc<Counts>);

impl ConnPermit {
    /// Takes one more connection for a client that has `mine` connections to members beyond one,
    /// and returns whether that is allowed. Each one granted needs a [`ConnPermit::release_extra`].
    pub fn take_extra(&self, mine: usize) -> bool {
        let taken = self.0.extra.fetch_add(1, Relaxed);
        let granted = mine < self.0.extra_left(taken);
        if !granted {
            self.release_extra();
        }
        granted
    }

    /// Gives back a connection taken with [`ConnPermit::take_extra`].
    pub fn release_extra(&self) {
        self.0.extra.fetch_sub(1, Relaxed);
    }
}

/// Guard of a listener that cannot accept.
#[derive(Debug)]
pub struct Waiting(Arc<Counts>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.closed.fetch_sub(1, Relaxed);
    }
}

impl Drop for ConnPermit {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Relaxed);
    }
}

/// Returns the limit of clients for a process that may open `descriptors` descriptors.
fn most(descriptors: u64) -> usize {
    let clients = (descriptors.saturating_sub(RESERVE) / 2).max(descriptors / 4).max(1);
    usize::try_from(clients).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_that_cannot_accept_are_known_until_they_can() {
        let conn_limit = ConnLimit::default();
        let waiting = conn_limit.keep_waiting();
        assert!(conn_limit.waits() && conn_limit.clone().waits());
        drop(waiting);
        assert!(!conn_limit.waits());
    }

    #[test]
    fn clients_get_less_than_half_of_the_descriptors() {
        for (descriptors, clients) in [(0, 1), (64, 16), (1024, 480), (1_048_576, 524_256)] {
            assert_eq!(most(descriptors), clients, "of {descriptors}");
        }
    }

    #[test]
    fn each_may_have_as_many_more_as_it_leaves_free() {
        let conn_limit = ConnLimit::with_descriptors(1024);
        let takes = |permit: &ConnPermit| (0..).take_while(|&mine| permit.take_extra(mine)).count();
        let has_extra =
            |permit: &ConnPermit| permit.take_extra(0).then(|| permit.release_extra()).is_some();
        let (first, second) = (conn_limit.acquire(), conn_limit.acquire());
        assert_eq!((takes(&first), takes(&second)), (128, 64));
        assert!(has_extra(&conn_limit.acquire()));
        let others: Vec<_> = (0..381).map(|_| conn_limit.acquire()).collect();
        assert!(conn_limit.has_room().is_ok(), "480 less half of what the two have");
        let last = conn_limit.acquire();
        assert_eq!(conn_limit.has_room(), Err(Full::Descriptors));
        assert!(!has_extra(&last));
        drop(others);
        (0..128).for_each(|_| first.release_extra());
        assert!(has_extra(&last));
    }

    #[test]
    fn as_many_come_as_there_is_memory_for() {
        let conn_limit = ConnLimit::with_descriptors(1024);
        conn_limit.admit(Some(2));
        let clients = [conn_limit.acquire(), conn_limit.acquire()];
        assert_eq!(conn_limit.has_room(), Err(Full::Memory));
        drop(clients);
        assert_eq!(conn_limit.has_room(), Err(Full::Memory), "memory is looked at first");
        conn_limit.admit(Some(1));
        assert_eq!(conn_limit.has_room(), Ok(()));
        conn_limit.admit(None);
        assert!((0..10).all(|_| {
            drop(conn_limit.acquire());
            conn_limit.has_room().is_ok()
        }));
    }
}
