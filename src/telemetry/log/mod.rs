//! Logs: what is wanted, in which form, to which outputs; all of it can change while the daemon
//! runs.
//!
//! A line is filtered and copied on the thread that writes it and handed to the log thread through
//! a bounded queue. No thread but that one ever waits for an output: when the outputs do not keep
//! up, lines are dropped, counted, and the number is logged once lines get through again. A changed
//! filter takes effect at once; changed outputs take their place in the queue, so that every line
//! goes either to the old ones or to the new ones.
//!
//! Lines from info upwards are limited when they repeat (see [`super::repeat_filter`]). A line that
//! answers something a person did, such as the result of a reload, carries `every = true` and is
//! always written. Lines that tell of one thing's changes carry the same `state = "..."` and share
//! a larger limit, so that the log never ends with "healthy again" while it is not. Spans are not
//! kept: a line carries its own fields.

mod error;
mod filter;
mod journal;
mod json;
mod output;
mod panic;
mod queue;
mod record;
mod text;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Event, Metadata, span};

pub use self::error::LogError;
use crate::config::LogSettings;
use filter::Filter;
use output::Output;
use queue::{Order, Queue};
use record::Record;
use writer::{THREAD, Writer};

/// How long the end of the process waits for the last lines.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// Log settings whose outputs are open: the half of a change that can fail.
#[derive(Debug)]
pub struct OpenLog {
    filter: Filter,
    outputs: Vec<Output>,
}

impl OpenLog {
    /// Opens the outputs that the settings name. Nothing is written yet, and dropping this undoes
    /// it (but for a log file that was created).
    ///
    /// # Errors
    /// One for each output that cannot be had.
    pub fn open(settings: &LogSettings) -> Result<Self, Vec<LogError>> {
        Ok(Self { filter: Filter::new(settings), outputs: output::open_all(settings)? })
    }

    /// Says what [`OpenLog::open`] would complain of, and makes no file.
    pub fn check(settings: &LogSettings) -> Vec<LogError> {
        output::check_all(settings)
    }
}

/// The daemon's hold on its log. Dropping it waits up to two seconds for the last lines; what is
/// logged afterwards is still written as long as the process lives.
#[derive(Debug)]
pub struct LogHandle {
    logger: Arc<Logger>,
}

/// Starts the log thread and makes all of the process's log lines, and its panics, go there.
pub fn init(settings: &LogSettings) -> Result<LogHandle, Vec<LogError>> {
    let handle = start(OpenLog::open(settings)?).map_err(|error| vec![error])?;
    let subscriber = Shared(Arc::clone(&handle.logger));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| vec![LogError::Twice])?;
    panic::install(Arc::clone(&handle.logger.queue));
    Ok(handle)
}

fn start(log: OpenLog) -> Result<LogHandle, LogError> {
    let (queue, orders) = queue::queue();
    let writer = Writer::new(orders, log.outputs);
    let thread = std::thread::Builder::new().name(THREAD.to_owned());
    thread.spawn(|| writer.run()).map_err(LogError::Thread)?;
    let logger = Logger { filter: ArcSwap::from_pointee(log.filter), queue: Arc::new(queue) };
    Ok(LogHandle { logger: Arc::new(logger) })
}

impl LogHandle {
    /// Puts a change into force: the filter at once, the outputs after the lines that wait. Loses
    /// no line. Use it at each SIGHUP, changed or not, so that a rotated log file is opened anew.
    pub fn apply(&self, log: OpenLog) {
        self.logger.filter.store(Arc::new(log.filter));
        self.logger.queue.order(Order::Outputs(log.outputs));
        tracing::callsite::rebuild_interest_cache();
    }

    /// Waits until all lines so far are written. Returns false when that took longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.logger.queue.flush(limit, false)
    }

    /// Waits as [`LogHandle::flush`] does, and has the lines written that are held back as
    /// repeated.
    pub fn flush_held(&self, limit: Duration) -> bool {
        self.logger.queue.flush(limit, true)
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        self.logger.queue.flush(LAST_FLUSH, true);
    }
}

#[derive(Debug)]
struct Logger {
    filter: ArcSwap<Filter>,
    queue: Arc<Queue>,
}

/// The subscriber: all threads share the logger with the handle.
struct Shared(Arc<Logger>);

impl Subscriber for Shared {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.0.filter.load().allows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.filter.load().max_level())
    }

    fn event(&self, event: &Event<'_>) {
        self.0.queue.push(Record::new(event));
    }

    /// Never asked for: no span is enabled.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[cfg(test)]
mod tests;
