//! Tracks request bodies whose next piece a client owes, and since when.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

/// The request bodies of one connection whose next piece is awaited.
#[derive(Debug)]
pub struct Owed {
    /// Number of bodies whose next piece is awaited.
    bodies: Cell<u32>,
    /// When the most recent wait of any body began.
    since: Cell<Instant>,
}

impl Owed {
    /// Creates the account of a new connection.
    pub fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self { bodies: Cell::new(0), since: Cell::new(now) })
    }

    /// Returns the number of bodies whose next piece is awaited.
    pub fn bodies(&self) -> u32 {
        self.bodies.get()
    }

    /// Returns when the most recent wait of any body began. A body that gets a piece and waits
    /// again moves it.
    pub fn since(&self) -> Instant {
        self.since.get()
    }
}

/// One body's share of [`Owed`].
pub struct Debt {
    owed: Rc<Owed>,
    is_waiting: bool,
}

impl Debt {
    /// Creates the share of a body that is not awaited yet.
    pub fn new(owed: Rc<Owed>) -> Self {
        Self { owed, is_waiting: false }
    }

    /// Records that the next piece is awaited.
    pub fn wait(&mut self) {
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.owed.bodies.set(self.owed.bodies.get() + 1);
            self.owed.since.set(Instant::now());
        }
    }

    /// Records that a piece, or the end of the body, has arrived.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_body_is_owed_from_when_it_was_wanted_and_not_from_its_request_s_begin() {
        let long_ago = Instant::now() - Duration::from_secs(60);
        let owed = Owed::new(long_ago);
        let mut debt = Debt::new(owed.clone());
        assert_eq!(owed.bodies(), 0);
        for _ in 0..2 {
            let wanted = Instant::now();
            debt.wait();
            assert!(owed.bodies() == 1 && owed.since() >= wanted);
            let since = owed.since();
            debt.wait();
            assert_eq!(owed.since(), since, "it is one wait");
            debt.come();
            assert_eq!(owed.bodies(), 0);
        }
        debt.wait();
        drop(debt);
        assert_eq!(owed.bodies(), 0);
    }
}
