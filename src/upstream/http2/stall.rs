//! Requests that cannot be sent because of the member's HTTP/2 limits: no stream may be opened, or
//! no window is open.
//!
//! A member's SETTINGS may close a connection to all requests without ending it
//! (MAX_CONCURRENT_STREAMS or INITIAL_WINDOW_SIZE of 0), and a window may never be opened again.
//! PINGs are answered all the same. So a request that waits to be sent watches whether anything
//! moves on its connection. If nothing does, it fails, and the connection takes no new requests.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::Reason;
use tokio::time::{Instant, Sleep};

/// How long a request of which nothing was sent waits while nothing moves on its connection.
const UNSENT: Duration = shorter_in_tests(Duration::from_secs(3));
/// The same once a part of it was sent: as long as a PING may take. An upload moves with each DATA
/// frame of its client, of at most 16 KiB, so a whole message may take far longer. An upload of
/// less than 1.6 kB/s, with nothing else moving, counts as stuck.
const BEGUN: Duration = shorter_in_tests(Duration::from_secs(10));

const fn shorter_in_tests(wait: Duration) -> Duration {
    if cfg!(test) { Duration::from_millis(wait.as_millis() as u64 / 10) } else { wait }
}

/// Progress on a connection, for requests that wait to be sent.
#[derive(Debug, Default)]
pub struct Movement {
    steps: Cell<u64>,
    is_stuck: Cell<bool>,
    is_reported: Cell<bool>,
    /// Whether the stream requested last must wait for another one to end.
    is_full: Cell<bool>,
}

impl Movement {
    /// Records progress: a stream was opened or has ended, or an upload went on.
    pub fn step(&self) {
        self.steps.set(self.steps.get().wrapping_add(1));
    }

    /// Returns whether the connection was given up, and so takes no new requests.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.get()
    }

    /// Returns true on the first call only.
    pub fn report(&self) -> bool {
        !self.is_reported.replace(true)
    }

    /// Sets whether a stream requested now must wait for another one to end.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.set(is_full);
    }

    /// Returns whether a stream requested now must wait for another one to end.
    pub fn is_full(&self) -> bool {
        self.is_full.get()
    }
}

/// One request that waits to be sent.
pub struct Stall {
    timer: Pin<Box<Sleep>>,
    /// When it began to wait, or progress was last seen.
    since: Instant,
    steps: u64,
}

impl Stall {
    /// Begins to wait for progress.
    pub fn begin(movement: &Movement) -> Self {
        let timer = Box::pin(tokio::time::sleep(UNSENT));
        Self { timer, since: Instant::now(), steps: movement.steps.get() }
    }

    /// Becomes ready with an error when nothing has moved for 3 s, or for 10 s once a part of the
    /// request was sent; the connection counts as stuck then. `is_begun` tells whether a part was
    /// sent by now, which may have happened since it began to wait.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        movement: &Movement,
        is_begun: bool,
    ) -> Poll<h2::Error> {
        let (allowed, reason) = if is_begun { (BEGUN, STUCK_WITHIN) } else { (UNSENT, STUCK) };
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let steps = movement.steps.get();
            if steps != self.steps {
                self.steps = steps;
                self.since = Instant::now();
            } else if self.since.elapsed() >= allowed {
                movement.is_stuck.set(true);
                return Poll::Ready(reason.into());
            }
            self.timer.as_mut().reset(self.since + allowed);
        }
    }
}

/// Reasons of our own errors for a stuck request. They carry no stream or connection, as errors
/// from the wire do.
const STUCK: Reason = Reason::REFUSED_STREAM;
const STUCK_WITHIN: Reason = Reason::CANCEL;

/// Returns whether a request was given up because it could not be sent: `Some(true)` when nothing
/// of it was sent, `Some(false)` when a part was. `None` for other errors.
pub fn was_stuck(error: &h2::Error) -> Option<bool> {
    if error.is_reset() || error.is_go_away() || error.is_io() {
        return None;
    }
    match error.reason()? {
        STUCK => Some(true),
        STUCK_WITHIN => Some(false),
        _ => None,
    }
}
