//! PINGs on a connection to a member, at the pace that members allow.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};

/// Members end a connection whose PINGs come sooner, after two warnings (etcd's
/// `grpc-keepalive-min-time`).
const APART: Duration = Duration::from_secs(5);

/// The PINGs of one connection: its driver sends them regularly, and whoever doubts that the member
/// lives at once.
pub struct Pings {
    ping_pong: RefCell<PingPong>,
    last: Cell<Option<Instant>>,
    unanswered: Cell<bool>,
}

impl Pings {
    /// Makes them from h2's handle.
    pub fn new(ping_pong: PingPong) -> Self {
        Self {
            ping_pong: RefCell::new(ping_pong),
            last: Cell::default(),
            unanswered: Cell::default(),
        }
    }

    /// Sends one, unless the last is unanswered or was sent a moment ago. Returns whether it did.
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

    /// Waits for the answer to the last one, if that is still to come.
    pub fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.unanswered.get() || self.ping_pong.borrow_mut().poll_pong(cx).is_pending() {
            return Poll::Pending;
        }
        self.unanswered.set(false);
        Poll::Ready(())
    }

    /// How long the last one has been waiting for its answer; `None` when that has come.
    pub fn unanswered(&self) -> Option<Duration> {
        self.last.get().filter(|_| self.unanswered.get()).map(|last| last.elapsed())
    }
}
