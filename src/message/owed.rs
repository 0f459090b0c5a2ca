//! Whether a client owes the rest of what it has begun to send, and since when.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

/// The request bodies of one connection that are waited for.
#[derive(Debug)]
pub struct Owed {
    /// Bodies whose next piece is waited for.
    bodies: Cell<u32>,
    /// When the last of them came on, or began.
    since: Cell<Instant>,
}

impl Owed {
    /// Makes the account of a new connection.
    pub fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self { bodies: Cell::new(0), since: Cell::new(now) })
    }

    /// Bodies whose next piece is waited for.
    pub fn bodies(&self) -> u32 {
        self.bodies.get()
    }

    /// Since when none of them has come on.
    pub fn since(&self) -> Instant {
        self.since.get()
    }
}

/// One body's part in what its client owes.
pub struct Debt {
    owed: Rc<Owed>,
    /// When its request began, until a piece has come: what is waited for first needs no look at the clock.
    began: Option<Instant>,
    is_waiting: bool,
}

impl Debt {
    /// Makes the account of the body of a request that began at `began`.
    pub fn new(owed: Rc<Owed>, began: Instant) -> Self {
        Self { owed, began: Some(began), is_waiting: false }
    }

    /// Notes that the next piece is waited for.
    pub fn wait(&mut self) {
        if !std::mem::replace(&mut self.is_waiting, true) {
            let now = self.began.take().unwrap_or_else(Instant::now);
            self.owed.bodies.set(self.owed.bodies.get() + 1);
            self.owed.since.set(self.owed.since.get().max(now));
        }
    }

    /// Notes that a piece has come, or the end.
    pub fn come(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.owed.bodies.set(self.owed.bodies.get().saturating_sub(1));
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.come();
    }
}
