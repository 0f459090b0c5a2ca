//! The log thread: takes records from the queue, limits repeated ones, writes the rest to every
//! output.
//!
//! It is the only thread that touches an output, so a full pipe or a hanging journald blocks this
//! thread and no other. Lines that are dropped meanwhile are counted, and the count is logged as
//! soon as lines get through again.

use std::hash::RandomState;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use tracing::Level;

use super::output::Output;
use super::queue::{Order, Orders};
use super::record::Record;
use crate::telemetry::repeat_filter::{RepeatFilter, Rule};

/// The name of the log thread.
pub(super) const THREAD: &str = "log";

/// How often repeated lines are summarised.
const WINDOW: Duration = Duration::from_secs(60);

/// The rule for lines that report an event.
const EVENT: Rule = Rule { burst: 1, settles: None };

/// The rule for lines that report a change of state. After 5 s without a change, the last line in
/// the log is the current state.
const STATE: Rule = Rule { burst: 6, settles: Some(Duration::from_secs(5)) };

/// The state of the log thread.
pub struct Writer {
    orders: Orders,
    outputs: Vec<Output>,
    limit: RepeatFilter<Record>,
    hashes: RandomState,
    line: Vec<u8>,
}

impl Writer {
    /// Creates a writer to `outputs`; [`Self::run`] starts it.
    pub fn new(orders: Orders, outputs: Vec<Output>) -> Self {
        let limit = RepeatFilter::new(WINDOW);
        Self { orders, outputs, limit, hashes: RandomState::new(), line: Vec::new() }
    }

    /// Processes orders until the sending end is dropped.
    pub fn run(mut self) {
        loop {
            match self.orders.next(self.limit.next_due()) {
                Ok(Order::Line(record)) => self.take(record),
                Ok(Order::Outputs(outputs)) => self.outputs = outputs,
                Ok(Order::Flush(done, held)) => {
                    if held {
                        self.write_held();
                    }
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write_held(),
            }
            self.write_due();
        }
    }

    /// Writes a record unless it repeats one. Debug lines are never held back: whoever turns them
    /// on wants to see everything.
    fn take(&mut self, record: Record) {
        if record.every || *record.metadata.level() > Level::INFO {
            return self.write(&record);
        }
        let key = record.key(&self.hashes);
        let rule = if record.state.is_some() { STATE } else { EVENT };
        if let Some(record) = self.limit.admit(key, rule, Instant::now(), record) {
            self.write(&record);
        }
    }

    fn write_due(&mut self) {
        while let Some((record, count)) = self.limit.due(Instant::now()) {
            self.write(&record.into_summary(count));
        }
    }

    fn write_held(&mut self) {
        for (record, count) in self.limit.drain() {
            self.write(&record.into_summary(count));
        }
    }

    fn write(&mut self, record: &Record) {
        if !self.write_to_all(record) {
            self.orders.count_lost(1);
            return;
        }
        match self.orders.take_lost() {
            0 => {}
            lost if self.write_to_all(&Record::lost(lost)) => {}
            lost => self.orders.count_lost(lost),
        }
    }

    /// Returns whether at least one output took the record. A failing output does not stop the
    /// others.
    fn write_to_all(&mut self, record: &Record) -> bool {
        let Self { outputs, line, .. } = self;
        let mut written = false;
        for output in outputs {
            written |= output.write(record, line).is_ok();
        }
        written
    }
}
