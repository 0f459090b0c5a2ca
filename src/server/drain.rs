//! Tells the connections of a listener to finish, and tells the worker when the last one is closed.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;

use super::limits::ClientTimeouts;

/// The drain state that a listener shares with its connections on one worker.
#[derive(Default)]
pub struct DrainSignal {
    timeouts: ClientTimeouts,
    draining: Cell<bool>,
    /// How many times idle connections were told to close, and the idle time that the last order
    /// asked for.
    shed: Cell<(u32, Duration)>,
    changed: Notify,
    open: Cell<usize>,
    empty: Notify,
}

/// Time that an idle HTTP/1 connection waits for one more request when it drains; the answer to
/// that request says that it was the last.
pub const LINGER: Duration = Duration::from_millis(200);

impl DrainSignal {
    /// Creates a signal for connections with these timeouts.
    #[cfg(test)]
    pub fn with_timeouts(timeouts: ClientTimeouts) -> Self {
        Self { timeouts, ..Self::default() }
    }

    /// Returns the time limits of the connections.
    pub fn timeouts(&self) -> ClientTimeouts {
        self.timeouts
    }

    /// Tells every connection to finish its open requests and to take no new ones.
    pub fn start(&self) {
        self.draining.set(true);
        self.changed.notify_waiters();
    }

    /// Tells connections to close that have been idle for at least this long.
    pub fn shed(&self, idle: Duration) {
        self.shed.set((self.shed.get().0.wrapping_add(1), idle));
        self.changed.notify_waiters();
    }

    /// Returns how many times [`DrainSignal::shed`] was called, and with which idle time last.
    pub fn to_shed(&self) -> (u32, Duration) {
        self.shed.get()
    }

    /// Returns whether the connections are to finish.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Returns the signal that connections are to finish, or that idle ones are to close.
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Counts a new connection.
    pub fn add_connection(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// Counts a closed connection.
    pub fn remove_connection(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        if self.open.get() == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Returns whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    /// Waits until no connection is open.
    pub async fn until_empty(&self) {
        while self.open.get() > 0 {
            self.empty.notified().await;
        }
    }
}
