//! Looks after the memory: gives back what clients leave behind, and keeps below the process's
//! limits.
//!
//! Near a limit new clients wait in the kernel's queue, and idle connections are closed, those
//! first that have been idle longest. If that frees little, new clients are let in as far as what
//! is left allows. Nobody's exchange is ended for it: without this the allocator would abort the
//! daemon, or the kernel kill it, and end all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::status_source::StatusSource;
use super::workers::WorkerNotifier;
use crate::net::conn_limit::ConnLimit;
use crate::telemetry::counters::{self, WorkerCounters};
use crate::telemetry::heap;
use crate::telemetry::memory::{Memory, Usage};
use crate::telemetry::snapshot::MemoryStatus;
use crate::telemetry::time::now_ms;
use crate::upstream::http1::ChunkBudget;

/// How often it is looked at while there is plenty, or no limit.
const CALM: Duration = Duration::from_secs(1);
/// The same while there is not; what comes in meanwhile is bounded by what was admitted.
const NEAR: Duration = Duration::from_millis(100);
/// Clients that there must be room for, else the memory is looked at often.
const PLENTY: u64 = 10_000;
/// What a client may cost until the next look: a TLS handshake, or the first request and what it
/// needs of a member. An idle one has 13 to 50 KiB.
const PER_CLIENT: u64 = 128 * 1024;
/// With so much, some of the clients that wait are let in during a shortage, each for half of what
/// is left.
const ENOUGH: u64 = 2 * PER_CLIENT;
/// Idle connections are closed in rounds, so that those go first which have been idle longest.
const ROUNDS: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(10),
    Duration::from_secs(1),
    Duration::from_millis(100),
];
/// The time between two rounds, for what was closed to be given back.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(500);
/// How often memory is given back at most; a trim holds the heap's lock for milliseconds.
const BETWEEN_TRIMS: Duration = Duration::from_secs(10);
/// Clients or exchanges that must have gone before giving back is worth it: a few MB.
const WORTH_A_TRIM: u64 = 200;

/// What looks after the memory.
pub struct Keeper {
    memory: Memory,
    conn_limit: ConnLimit,
    workers: WorkerNotifier,
    counters: Vec<Arc<WorkerCounters>>,
    status_source: Arc<StatusSource>,
    /// There while the limit is too near.
    short: Option<Shortage>,
    /// Clients and exchanges, the most since the last trim.
    most: u64,
    trimmed: Instant,
}

#[derive(Debug)]
struct Shortage {
    since_ms: u64,
    /// The next one of [`ROUNDS`].
    round: usize,
    /// Whether all of them have been through.
    is_through: bool,
    next_round: Instant,
    /// Whether there may be something to give back.
    to_trim: bool,
}

impl Shortage {
    fn new() -> Self {
        Self {
            since_ms: now_ms(),
            round: 0,
            is_through: false,
            next_round: Instant::now(),
            to_trim: true,
        }
    }

    /// How long a connection must have been idle to be closed in the round that is due; `None` when
    /// there is none.
    ///
    /// Once all rounds have been through, most of what is left in use is nobody's to close. Only as
    /// much is freed then as lets clients in, or each of them would be closed as soon as it pauses.
    fn next_round(&mut self, left: u64) -> Option<Duration> {
        if self.is_through && left >= ENOUGH {
            self.round = 0;
            return None;
        }
        let idle = ROUNDS[self.round];
        self.round = (self.round + 1) % ROUNDS.len();
        self.is_through |= self.round == 0;
        Some(idle)
    }
}

impl Keeper {
    /// Makes one for these workers and their clients.
    pub fn new(
        conn_limit: ConnLimit,
        workers: WorkerNotifier,
        status_source: Arc<StatusSource>,
    ) -> Self {
        Self {
            memory: Memory::of_this_process(),
            conn_limit,
            workers,
            counters: status_source.counters().to_vec(),
            status_source,
            short: None,
            most: 0,
            trimmed: Instant::now(),
        }
    }

    /// Looks after it for ever.
    pub async fn run(mut self) {
        let mut pause = CALM;
        loop {
            // As long as it cannot be told, all stays as it was.
            if let Ok(usage) = self.memory.usage() {
                let left = usage.as_ref().map(Usage::left);
                self.watch(usage);
                let clients = left.map(|left| clients(left, self.short.is_some()));
                self.conn_limit.admit(clients);
                let is_near = clients.is_some_and(|clients| clients < PLENTY);
                pause = if self.short.is_some() || is_near { NEAR } else { CALM };
            }
            self.give_back();
            sleep(pause).await;
        }
    }

    fn watch(&mut self, usage: Option<Usage>) {
        match (&usage, &self.short) {
            (Some(usage), None) if usage.left() < PER_CLIENT => self.begin(usage),
            (Some(usage), Some(_)) if usage.left() < (usage.room / 8).max(PER_CLIENT) => {
                self.close_idle(usage.left());
            }
            (_, Some(_)) => self.end(),
            (_, None) => {}
        }
        let since_ms = self.short.as_ref().map(|short| short.since_ms);
        self.status_source.set_memory(usage.map(|usage| MemoryStatus {
            limited_by: usage.limited_by.to_owned(),
            limit_bytes: usage.limit,
            used_bytes: usage.used,
            short_since_ms: since_ms,
        }));
    }

    fn begin(&mut self, usage: &Usage) {
        self.short = Some(Shortage::new());
        ChunkBudget::stop(true);
        tracing::error!(
            state = "memory",
            used = usage.used,
            limit = usage.limit,
            "memory is short: new clients wait and idle connections are closed; raise {} if there are rightly so many",
            usage.limited_by
        );
        self.close_idle(usage.left());
    }

    fn close_idle(&mut self, left: u64) {
        let now = Instant::now();
        let Some(short) = self.short.as_mut().filter(|short| short.next_round <= now) else {
            return;
        };
        short.next_round = now + BETWEEN_ROUNDS;
        if std::mem::take(&mut short.to_trim) {
            heap::trim();
        }
        if let Some(idle) = short.next_round(left) {
            short.to_trim = true;
            self.workers.shed(idle);
        }
    }

    fn end(&mut self) {
        self.short = None;
        ChunkBudget::stop(false);
        tracing::info!(state = "memory", "there is memory again, accepting connections");
    }

    /// Gives memory back once many clients or exchanges have gone.
    fn give_back(&mut self) {
        let traffic = counters::traffic(&self.counters);
        let now = traffic.connections + traffic.requests_in_flight + traffic.rpcs_in_flight;
        self.most = self.most.max(now);
        if self.most - now >= WORTH_A_TRIM && self.trimmed.elapsed() >= BETWEEN_TRIMS {
            heap::trim();
            self.most = now;
            self.trimmed = Instant::now();
        }
    }
}

/// How many clients may come until the next look where so many bytes are left.
fn clients(left: u64, is_short: bool) -> u64 {
    left / if is_short { ENOUGH } else { PER_CLIENT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_closed_round_by_round_and_then_only_for_who_waits() {
        let mut short = Shortage::new();
        let mut rounds = |left| (0..6).map_while(|_| short.next_round(left)).collect::<Vec<_>>();
        let enough = rounds(ENOUGH);
        assert_eq!(enough, ROUNDS, "each once, to free more than is enough");
        assert!(rounds(ENOUGH).is_empty(), "what is left in use is not idle");
        let [first, second, third, last] = ROUNDS;
        assert_eq!(rounds(ENOUGH - 1), [first, second, third, last, first, second]);
        assert!(rounds(ENOUGH).is_empty());
        assert_eq!(rounds(0)[0], first, "the longest idle go first each time");
    }

    #[test]
    fn in_a_shortage_clients_get_half_of_what_is_left() {
        assert_eq!(clients(10 * PER_CLIENT, false), 10);
        assert_eq!(clients(10 * PER_CLIENT, true), 5);
        assert_eq!((clients(ENOUGH, true), clients(ENOUGH - 1, true)), (1, 0));
    }
}
