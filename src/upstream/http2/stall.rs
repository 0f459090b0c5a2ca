//! Requests that cannot be sent because the member's HTTP/2 does not let them: no stream may be
//! opened, or no window is open.
//!
//! A member's SETTINGS may close a connection to all requests without ending it
//! (MAX_CONCURRENT_STREAMS or INITIAL_WINDOW_SIZE of 0), and a window may never be opened again.
//! PINGs are answered all the same. So a request that waits to be sent looks whether anything moves
//! on its connection, and gives it up if nothing does.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::Reason;
use tokio::time::{Instant, Sleep};

/// How long a request of which nothing was sent waits while nothing moves.
const UNSENT: Duration = shorter_in_tests(Duration::from_secs(3));
/// The same once a part of it was sent: as long as a PING may take. An upload moves with each DATA
/// frame of its client, of at most 16 KiB, so a whole message may take far longer; what is below
/// 1.6 kB/s with nothing else moving is stuck.
const BEGUN: Duration = shorter_in_tests(Duration::from_secs(10));

const fn shorter_in_tests(wait: Duration) -> Duration {
    if cfg!(test) { Duration::from_millis(wait.as_millis() as u64 / 10) } else { wait }
}

/// What moves on a connection, for those who wait to send.
#[derive(Debug, Default)]
pub struct Movement {
    steps: Cell<u64>,
    is_stuck: Cell<bool>,
    is_reported: Cell<bool>,
    /// Whether the last stream that was asked for must wait for another one to end.
    is_full: Cell<bool>,
}

impl Movement {
    /// Notes that a stream has ended, or a window was opened.
    pub fn step(&self) {
        self.steps.set(self.steps.get().wrapping_add(1));
    }

    /// Whether the connection was given up: it takes no new requests.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.get()
    }

    /// Whether nobody has asked this before.
    pub fn report(&self) -> bool {
        !self.is_reported.replace(true)
    }

    /// Says whether a stream that is asked for now must wait for another one to end.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.set(is_full);
    }

    /// Whether it must.
    pub fn is_full(&self) -> bool {
        self.is_full.get()
    }
}

/// One request that waits to be sent.
pub struct Stall {
    timer: Pin<Box<Sleep>>,
    /// When it began to wait, or was last seen to have moved.
    since: Instant,
    steps: u64,
}

impl Stall {
    /// Begins to wait.
    pub fn begin(movement: &Movement) -> Self {
        let timer = Box::pin(tokio::time::sleep(UNSENT));
        Self { timer, since: Instant::now(), steps: movement.steps.get() }
    }

    /// Ready when nothing has moved for long enough; the connection counts as stuck then.
    /// `is_begun` says whether a part of the request was sent by now, which may have happened since
    /// it began to wait.
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

/// Our own words for it; an error that comes from the wire is one of a stream or a connection.
const STUCK: Reason = Reason::REFUSED_STREAM;
const STUCK_WITHIN: Reason = Reason::CANCEL;

/// Whether a request was given up because it could not be sent: `Some(true)` when nothing of it
/// was.
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
