//! The queue from the threads that log to the log thread.
//!
//! Pushing a record never waits: if the queue is full, the record is dropped and counted. Orders to
//! the log thread (new outputs, flush) go through the same queue, so they keep their place among
//! the lines; they are never dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::output::Output;
use super::record::Record;

/// Maximum number of records that may wait to be written. With the bound on a record's text this is
/// at most 16 MiB.
const CAPACITY: usize = 2048;

/// An order to the log thread.
pub enum Order {
    /// Write this line.
    Line(Record),
    /// Use these outputs from here on.
    Outputs(Vec<Output>),
    /// Answer when everything before this is written. With the second field set, also write the
    /// lines that the rate limit holds back.
    Flush(Sender<()>, bool),
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// The sending end, shared by all threads that log.
#[derive(Debug)]
pub struct Queue {
    orders: Sender<Order>,
    counts: Arc<Counts>,
}

/// The receiving end, owned by the log thread.
#[derive(Debug)]
pub struct Orders {
    orders: Receiver<Order>,
    counts: Arc<Counts>,
}

/// Creates both ends.
pub fn queue() -> (Queue, Orders) {
    let (sender, receiver) = mpsc::channel();
    let counts = Arc::<Counts>::default();
    let queue = Queue { orders: sender, counts: Arc::clone(&counts) };
    (queue, Orders { orders: receiver, counts })
}

impl Queue {
    /// Queues a record, or counts it as lost if the queue is full. Never waits.
    pub fn push(&self, record: Record) {
        // Threads that race here may exceed the bound by one record each, which is fine for a bound
        // on memory.
        if self.counts.waiting.load(Ordering::Relaxed) >= CAPACITY {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        self.order(Order::Line(record));
    }

    /// Queues an order, whatever the number of waiting records. Never waits.
    pub fn order(&self, order: Order) {
        // Fails only if the log thread is gone, and then nobody can be told.
        let _ = self.orders.send(order);
    }

    /// Waits until everything queued before is written; with `held`, also the lines that the rate
    /// limit holds back. Returns false if that takes longer than `limit`.
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

    /// Returns how many records were lost since the last call, and resets the count.
    pub fn take_lost(&self) -> u64 {
        self.counts.lost.swap(0, Ordering::Relaxed)
    }
}
