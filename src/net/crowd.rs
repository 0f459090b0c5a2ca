//! How many clients may be connected at a time.
//!
//! Each of them needs up to three descriptors: its own, and one or two towards members. If clients took all there are,
//! none would be left to serve them with. So a part of what the process may open is for clients; who comes beyond that
//! waits in the kernel's queue until another one leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::sys::resource::{Resource, getrlimit};

/// Descriptors that are no client's: listeners, files, peers, probes and the kept connections to members.
const RESERVE: u64 = 64;

/// Counts the clients of all workers.
#[derive(Debug, Clone, Default)]
pub struct Crowd(Arc<AtomicUsize>);

impl Crowd {
    /// Counts a client in until what this returns is dropped.
    pub fn enter(&self) -> Place {
        self.0.fetch_add(1, Relaxed);
        Place(self.0.clone())
    }

    /// Whether one more may come. The limit is asked for each time, so that raising it (prlimit(1)) has its effect.
    pub fn has_room(&self) -> bool {
        let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| most(soft));
        self.0.load(Relaxed) < most
    }
}

/// One client's place in the crowd.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How many clients may come where so many descriptors may be open.
fn most(descriptors: u64) -> usize {
    let clients = (descriptors.saturating_sub(RESERVE) / 2).max(descriptors / 4).max(1);
    usize::try_from(clients).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_less_than_half_of_the_descriptors() {
        for (descriptors, clients) in [(0, 1), (64, 16), (1024, 480), (1_048_576, 524_256)] {
            assert_eq!(most(descriptors), clients, "of {descriptors}");
        }
    }
}
