//! Looks after the memory: gives back what clients leave behind, and keeps below the process's limits.
//!
//! Near a limit new clients wait in the kernel's queue, and idle connections are closed, those first that have been
//! idle longest. Nobody's exchange is ended for it: without this the allocator would abort the daemon, or the kernel
//! kill it, and end all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::board::Board;
use super::fleet::Caller;
use super::history::now_ms;
use crate::net::crowd::Crowd;
use crate::telemetry::heap;
use crate::telemetry::memory::{Memory, Usage};
use crate::telemetry::snapshot::MemoryStatus;
use crate::telemetry::tally::{self, Tally};
use crate::upstream::http1::ChunkBudget;

/// How often it is looked at while there is plenty, or no limit.
const CALM: Duration = Duration::from_secs(1);
/// The same while there is not; what comes in meanwhile is bounded by what was admitted.
const NEAR: Duration = Duration::from_millis(100);
/// Clients that there must be room for, else the memory is looked at often.
const PLENTY: u64 = 10_000;
/// What a client may cost until the next look: a TLS handshake, or the first request and what it needs of a member. An
/// idle one has 13 to 50 KiB.
const PER_CLIENT: u64 = 128 * 1024;
/// Idle connections are closed in rounds, so that those go first which have been idle longest; the last one repeats.
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
    crowd: Crowd,
    workers: Caller,
    tallies: Vec<Arc<Tally>>,
    board: Arc<Board>,
    /// Since when the limit is too near, and how many rounds of closing there were.
    short: Option<Shortage>,
    /// Clients and exchanges, the most since the last trim.
    most: u64,
    trimmed: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Shortage {
    since_ms: u64,
    round: usize,
    next_round: Instant,
}

impl Keeper {
    /// Makes one for these workers and their clients.
    pub fn new(crowd: Crowd, workers: Caller, board: Arc<Board>) -> Self {
        Self {
            memory: Memory::of_this_process(),
            crowd,
            workers,
            tallies: board.tallies().to_vec(),
            board,
            short: None,
            most: 0,
            trimmed: Instant::now(),
        }
    }

    /// Looks after it for ever.
    pub async fn run(mut self) {
        loop {
            let usage = self.memory.usage();
            let clients = usage.as_ref().map(|usage| usage.left() / PER_CLIENT);
            self.watch(usage);
            self.crowd.admit(if self.short.is_some() { Some(0) } else { clients });
            self.give_back();
            let is_near = self.short.is_some() || clients.is_some_and(|clients| clients < PLENTY);
            sleep(if is_near { NEAR } else { CALM }).await;
        }
    }

    fn watch(&mut self, usage: Option<Usage>) {
        match (&usage, self.short) {
            (Some(usage), None) if usage.left() < PER_CLIENT => self.begin(usage),
            (Some(usage), Some(_)) if usage.left() < (usage.room / 8).max(PER_CLIENT) => {
                self.close_idle();
            }
            (_, Some(_)) => self.end(),
            (_, None) => {}
        }
        let since_ms = self.short.map(|short| short.since_ms);
        self.board.set_memory(usage.map(|usage| MemoryStatus {
            limited_by: usage.limited_by.to_owned(),
            limit_bytes: usage.limit,
            used_bytes: usage.used,
            short_since_ms: since_ms,
        }));
    }

    fn begin(&mut self, usage: &Usage) {
        self.short = Some(Shortage { since_ms: now_ms(), round: 0, next_round: Instant::now() });
        ChunkBudget::stop(true);
        tracing::error!(
            state = "memory",
            used = usage.used,
            limit = usage.limit,
            "memory is short: new clients wait and idle connections are closed; raise {} if there are rightly so many",
            usage.limited_by
        );
        self.close_idle();
    }

    fn close_idle(&mut self) {
        let now = Instant::now();
        let Some(short) = self.short.as_mut().filter(|short| short.next_round <= now) else {
            return;
        };
        // What the last round has closed is given back before it is decided again.
        heap::trim();
        let idle = ROUNDS[short.round.min(ROUNDS.len() - 1)];
        short.round += 1;
        short.next_round = now + BETWEEN_ROUNDS;
        self.workers.shed(idle);
    }

    fn end(&mut self) {
        self.short = None;
        ChunkBudget::stop(false);
        tracing::info!(state = "memory", "there is memory again, accepting connections");
    }

    /// Gives memory back once many clients or exchanges have gone.
    fn give_back(&mut self) {
        let traffic = tally::traffic(&self.tallies);
        let now = traffic.connections + traffic.requests_in_flight + traffic.rpcs_in_flight;
        self.most = self.most.max(now);
        if self.most - now >= WORTH_A_TRIM && self.trimmed.elapsed() >= BETWEEN_TRIMS {
            heap::trim();
            self.most = now;
            self.trimmed = Instant::now();
        }
    }
}
