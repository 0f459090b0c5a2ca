//! Tells the connections of a listener to finish, and the worker when the last one has.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;

use super::limits::ClientTimeouts;

/// Shared by a listener and its connections on one worker.
#[derive(Default)]
pub struct DrainSignal {
    timeouts: ClientTimeouts,
    draining: Cell<bool>,
    /// How often idle connections were told to close, and how long they must have been idle the
    /// last time.
    shed: Cell<(u32, Duration)>,
    changed: Notify,
    open: Cell<usize>,
    empty: Notify,
}

/// How long an idle HTTP/1 connection that is to finish waits for one more request, whose answer
/// says that it was the last.
pub const LINGER: Duration = Duration::from_millis(200);

impl DrainSignal {
    /// Makes a signal for connections with these timeouts.
    #[cfg(test)]
    pub fn with_timeouts(timeouts: ClientTimeouts) -> Self {
        Self { timeouts, ..Self::default() }
    }

    /// How long connections may do nothing.
    pub fn timeouts(&self) -> ClientTimeouts {
        self.timeouts
    }

    /// Tells every connection to finish what it has and to take nothing new.
    pub fn start(&self) {
        self.draining.set(true);
        self.changed.notify_waiters();
    }

    /// Tells connections to close that have been idle for so long.
    pub fn shed(&self, idle: Duration) {
        self.shed.set((self.shed.get().0.wrapping_add(1), idle));
        self.changed.notify_waiters();
    }

    /// How often [`DrainSignal::shed`] was called, and with what the last time.
    pub fn to_shed(&self) -> (u32, Duration) {
        self.shed.get()
    }

    /// Whether connections are to finish.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Notified when the connections are to finish, or to shed.
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Counts a connection in.
    pub fn add_connection(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// Counts a connection out.
    pub fn remove_connection(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        if self.open.get() == 0 {
            self.empty.notify_waiters();
        }
    }

    /// Whether no connection is open.
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
