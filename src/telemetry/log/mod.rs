//! Logs: levels, formats and outputs, all of which can change while the daemon runs.
//!
//! A line is filtered and copied on the thread that logs it and handed to the log thread through a
//! bounded queue. Only the log thread ever waits for an output. When the outputs do not keep up,
//! lines are dropped and counted, and the count is logged once lines get through again. A changed
//! filter takes effect at once. Changed outputs go through the queue, so that every line goes
//! either to the old ones or to the new ones.
//!
//! Repeated lines at info and above are rate-limited (see [`super::repeat_filter`]). A line that
//! answers something a person did, such as the result of a reload, carries `every = true` and is
//! always written. Lines about the changes of one state carry the same `state = "..."` and share a
//! larger limit, so that the last line in the log is true: no "healthy again" for a member that is
//! not. Spans are not recorded: each line carries its own fields.

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

/// How long dropping the [`LogHandle`] waits for the last lines.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// Log settings with their outputs already open: the half of a change that can fail.
#[derive(Debug)]
pub struct OpenLog {
    filter: Filter,
    outputs: Vec<Output>,
}

impl OpenLog {
    /// Opens the outputs that the settings name. Nothing is written yet, and dropping the result
    /// undoes it, except for a log file that was created.
    ///
    /// # Errors
    /// One error for each output that cannot be opened.
    pub fn open(settings: &LogSettings) -> Result<Self, Vec<LogError>> {
        Ok(Self { filter: Filter::new(settings), outputs: output::open_all(settings)? })
    }

    /// Returns the errors that [`OpenLog::open`] would return, without creating a file. A missing
    /// journal is not reported.
    pub fn check(settings: &LogSettings) -> Vec<LogError> {
        output::check_all(settings)
    }
}

/// The daemon's handle to its log. Dropping it waits up to 2 s for the last lines; later lines are
/// still written as long as the process lives.
#[derive(Debug)]
pub struct LogHandle {
    logger: Arc<Logger>,
}

/// Starts the log thread and routes all of the process's log lines and panics to it.
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
    /// Applies a change: the filter at once, the outputs after the lines that are already queued.
    /// No line is lost. Call it at each SIGHUP, even if nothing changed, so that a rotated log file
    /// is reopened.
    pub fn apply(&self, log: OpenLog) {
        self.logger.filter.store(Arc::new(log.filter));
        self.logger.queue.order(Order::Outputs(log.outputs));
        tracing::callsite::rebuild_interest_cache();
    }

    /// Waits until all lines so far are written. Returns false if that takes longer than `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.logger.queue.flush(limit, false)
    }

    /// Like [`LogHandle::flush`], and also writes the repeated lines that are held back.
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

/// The process's subscriber, which shares the logger with the handle.
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

    /// Never called: no span is enabled.
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
