//! The way from the threads that log to the one that writes.
//!
//! Putting a record in never waits: when too many are under way the record is dropped and counted.
//! Orders to the log thread (new outputs, flush) go the same way and are never dropped, so they
//! keep their place among the lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::output::Output;
use super::record::Record;

/// Records that may wait to be written: with the bound on a record's text, at most 16 MB.
const CAPACITY: usize = 2048;

/// What the log thread is told.
pub enum Order {
    /// Write this.
    Line(Record),
    /// Use these outputs from here on.
    Outputs(Vec<Output>),
    /// Answer when everything before this is written; the second field asks for the lines that the
    /// rate limit holds back, too.
    Flush(Sender<()>, bool),
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// The end that log lines are put into.
#[derive(Debug)]
pub struct Queue {
    orders: Sender<Order>,
    counts: Arc<Counts>,
}

/// The end that the log thread reads.
#[derive(Debug)]
pub struct Orders {
    orders: Receiver<Order>,
    counts: Arc<Counts>,
}

/// Makes both ends.
pub fn queue() -> (Queue, Orders) {
    let (sender, receiver) = mpsc::channel();
    let counts = Arc::<Counts>::default();
    let queue = Queue { orders: sender, counts: Arc::clone(&counts) };
    (queue, Orders { orders: receiver, counts })
}

impl Queue {
    /// Puts a record in, or counts it as lost when the log thread is far behind. Never waits.
    pub fn push(&self, record: Record) {
        // Threads that race here may pass the bound by one record each: it is a bound on memory,
        // not a number that anything depends on.
        if self.counts.waiting.load(Ordering::Relaxed) >= CAPACITY {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        self.order(Order::Line(record));
    }

    /// Gives an order that is no line. Never waits.
    pub fn order(&self, order: Order) {
        // Fails only when the log thread is gone, and then there is nobody to tell.
        let _ = self.orders.send(order);
    }

    /// Waits until all that was put in before is written; with `held`, also what the rate limit
    /// holds back. Returns false when that took longer than `limit`.
    pub fn flush(&self, limit: Duration, held: bool) -> bool {
        let (done, wait) = mpsc::channel();
        self.order(Order::Flush(done, held));
        wait.recv_timeout(limit).is_ok()
    }
}

impl Orders {
    /// Waits for the next order, until `deadline` if there is one.
    pub fn next(&self, deadline: Option<Instant>) -> Result<Order, RecvTimeoutError> {
        let order = match deadline {
            None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.orders.recv_timeout(at.saturating_duration_since(Instant::now())),
        }?;
        if matches!(order, Order::Line(_)) {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(order)
    }

    /// Counts records that could not be written.
    pub fn count_lost(&self, count: u64) {
        self.counts.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns how many records were lost since this was last asked.
    pub fn take_lost(&self) -> u64 {
        self.counts.lost.swap(0, Ordering::Relaxed)
    }
}
