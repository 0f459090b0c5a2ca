//! Tells the connections of a listener to finish, and the worker when the last one has.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;

use super::limits::Patience;

/// Shared by a listener and its connections on one worker.
#[derive(Default)]
pub struct Gate {
    patience: Patience,
    closing: Cell<bool>,
    /// How often idle connections were told to close, and how long they must have been idle the
    /// last time.
    shed: Cell<(u32, Duration)>,
    close: Notify,
    open: Cell<usize>,
    emptied: Notify,
}

/// How long an idle HTTP/1 connection that is to finish waits for one more request, whose answer
/// says that it was the last.
pub const LINGER: Duration = Duration::from_millis(200);

impl Gate {
    /// Makes an open gate whose connections are held to `patience`.
    #[cfg(test)]
    pub fn with_patience(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// How long connections may do nothing.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Tells every connection to finish what it has and to take nothing new.
    pub fn close(&self) {
        self.closing.set(true);
        self.close.notify_waiters();
    }

    /// Tells connections to close that have been idle for so long.
    pub fn shed(&self, idle: Duration) {
        self.shed.set((self.shed.get().0.wrapping_add(1), idle));
        self.close.notify_waiters();
    }

    /// How often [`Gate::shed`] was called, and with what the last time.
    pub fn to_shed(&self) -> (u32, Duration) {
        self.shed.get()
    }

    /// Whether connections are to finish.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Wakes who waits for the order to finish.
    pub fn closing(&self) -> &Notify {
        &self.close
    }

    /// Counts a connection in.
    pub fn enter(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// Counts a connection out.
    pub fn leave(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        if self.open.get() == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    /// Waits until no connection is open.
    pub async fn emptied(&self) {
        while self.open.get() > 0 {
            self.emptied.notified().await;
        }
    }
}
