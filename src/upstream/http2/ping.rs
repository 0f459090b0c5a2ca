//! PINGs on a connection to a member, no more often than members allow.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};

/// Shortest time between two PINGs. Members tolerate two that come sooner and end the connection at
/// the third (etcd's `grpc-keepalive-min-time`).
const APART: Duration = Duration::from_secs(5);

/// The PINGs of one connection. Its driver sends them regularly; a caller that needs a sign of life
/// sends one at once.
pub struct Pings {
    ping_pong: RefCell<PingPong>,
    last: Cell<Option<Instant>>,
    unanswered: Cell<bool>,
}

impl Pings {
    /// Creates them from h2's handle.
    pub fn new(ping_pong: PingPong) -> Self {
        Self {
            ping_pong: RefCell::new(ping_pong),
            last: Cell::default(),
            unanswered: Cell::default(),
        }
    }

    /// Sends a PING, unless the last one is unanswered or was sent less than 5 s ago. Returns
    /// whether it did.
    pub fn send(&self) -> bool {
        let too_soon = self.last.get().is_some_and(|last| last.elapsed() < APART);
        if too_soon || self.unanswered.get() {
            return false;
        }
        let sent = self.ping_pong.borrow_mut().send_ping(Ping::opaque()).is_ok();
        if sent {
            self.last.set(Some(Instant::now()));
            self.unanswered.set(true);
        }
        sent
    }

    /// Polls for the answer to the last PING; pending as well when none is unanswered.
    pub fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.unanswered.get() || self.ping_pong.borrow_mut().poll_pong(cx).is_pending() {
            return Poll::Pending;
        }
        self.unanswered.set(false);
        Poll::Ready(())
    }

    /// Returns how long the last PING has been waiting for its answer; `None` when it was answered.
    pub fn unanswered(&self) -> Option<Duration> {
        self.last.get().filter(|_| self.unanswered.get()).map(|last| last.elapsed())
    }
}
