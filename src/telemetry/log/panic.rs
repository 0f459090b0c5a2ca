//! The panic hook, which writes panics to the log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;

use super::queue::Queue;
use super::writer::THREAD;

/// How long a panicking thread waits for its line to be written. The process may be about to end,
/// but a blocked output must not hold up a worker.
const WAIT: Duration = Duration::from_millis(250);

/// A panic hook, as the standard library takes it.
type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// Sends panics to the log. The log thread's own panics go to the previous hook, since that thread
/// can no longer write them.
pub fn install(queue: Arc<Queue>) {
    std::panic::set_hook(hook(queue, std::panic::take_hook()));
}

pub(super) fn hook(queue: Arc<Queue>, before: Hook) -> Hook {
    Box::new(move |info| {
        if std::thread::current().name() == Some(THREAD) {
            return before(info);
        }
        log(info);
        queue.flush(WAIT, false);
    })
}

fn log(info: &PanicHookInfo<'_>) {
    let reason = info.payload_as_str().unwrap_or("unknown reason");
    let place = info.location().map(tracing::field::display);
    let current = std::thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    let backtrace = backtrace.as_ref().map(tracing::field::display);
    tracing::error!(place, thread, backtrace, "panic: {reason}");
}
