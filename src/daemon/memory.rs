//! Keeps memory in bounds: gives back what closed connections leave in the heap, and keeps the
//! daemon below the process's limits.
//!
//! Near a limit new clients wait in the kernel's queue, and idle connections are closed, the
//! longest idle first. If that frees little, new clients are let in as far as the remaining memory
//! allows. No exchange is ended for it. Without this the allocator would abort the daemon, or the
//! kernel kill it, and all exchanges would end.

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

/// How often memory is checked while there is plenty, or no limit, and many clients are connected.
const CALM: Duration = Duration::from_secs(1);
/// How often memory is checked while few clients are connected, who cannot need much until then.
const QUIET: Duration = Duration::from_secs(5);
/// How many clients are few.
const FEW: usize = 64;
/// How often memory is checked near a limit; what comes in meanwhile is bounded by what was
/// admitted.
const NEAR: Duration = Duration::from_millis(100);
/// Memory is checked often while there is room for fewer clients than this.
const PLENTY: u64 = 10_000;
/// Bytes that a client may need until the next check: for a TLS handshake, or for its first request
/// and that request's connection to a member. An idle client takes 13 to 50 KiB.
const PER_CLIENT: u64 = 128 * 1024;
/// Bytes that must be left for each waiting client that is let in during a shortage: together they
/// may use half of what is left.
const ENOUGH: u64 = 2 * PER_CLIENT;
/// The rounds in which idle connections are closed, by the time that they have been idle: the
/// longest idle go first.
const ROUNDS: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(10),
    Duration::from_secs(1),
    Duration::from_millis(100),
];
/// The time between two rounds, in which the memory of closed connections is given back.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(500);
/// Least time between two trims: a trim holds the heap's lock for milliseconds.
const BETWEEN_TRIMS: Duration = Duration::from_secs(10);
/// Clients or exchanges that must have ended before a trim is worth it: they held a few MB.
const WORTH_A_TRIM: u64 = 200;

/// The task that keeps memory in bounds.
pub struct Keeper {
    memory: Memory,
    conn_limit: ConnLimit,
    workers: WorkerNotifier,
    counters: Vec<Arc<WorkerCounters>>,
    status_source: Arc<StatusSource>,
    /// The current shortage; `None` while enough is left.
    short: Option<Shortage>,
    /// The highest number of clients and exchanges since the last trim.
    most: u64,
    trimmed: Instant,
}

#[derive(Debug)]
struct Shortage {
    since_ms: u64,
    /// The next one of [`ROUNDS`].
    round: usize,
    /// Whether all rounds have run once.
    is_through: bool,
    next_round: Instant,
    /// Whether a trim may free something: at first, and once connections were closed.
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

    /// Returns how long a connection must have been idle to be closed in the round that is due, or
    /// `None` when no round is.
    ///
    /// Once all rounds have run, most of the memory still in use cannot be freed by closing
    /// connections. Then only as much is freed as lets clients in: otherwise each of them would be
    /// closed as soon as it pauses.
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
    /// Makes a keeper for these workers and their clients.
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

    /// Checks memory for ever.
    pub async fn run(mut self) {
        let mut pause = CALM;
        loop {
            let peak = self.conn_limit.take_peak();
            // When usage cannot be read, everything stays as it was.
            if let Ok(usage) = self.memory.usage() {
                let left = usage.as_ref().map(Usage::left);
                self.watch(usage);
                let clients = left.map(|left| clients(left, self.short.is_some()));
                self.conn_limit.admit(clients);
                let is_near = clients.is_some_and(|clients| clients < PLENTY);
                pause = match peak {
                    _ if self.short.is_some() || is_near => NEAR,
                    ..FEW => QUIET,
                    _ => CALM,
                };
            }
            self.give_back(peak as u64);
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
            "memory is short: new clients wait and idle connections are closed; raise {} if this many clients are expected",
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
        tracing::info!(state = "memory", "memory is no longer short, accepting connections again");
    }

    /// Returns memory to the system once many clients or exchanges have ended. `peak` is the most
    /// clients since the last call.
    fn give_back(&mut self, peak: u64) {
        let traffic = counters::traffic(&self.counters);
        let now = traffic.connections + traffic.requests_in_flight + traffic.rpcs_in_flight;
        self.most = self.most.max(now).max(peak);
        if self.most - now >= WORTH_A_TRIM && self.trimmed.elapsed() >= BETWEEN_TRIMS {
            heap::trim();
            self.most = now;
            self.trimmed = Instant::now();
        }
    }
}

/// Returns how many clients may be accepted until the next check when this many bytes are left.
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
