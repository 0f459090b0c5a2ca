//! Limits how often something is done, without losing the last request for it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Merges requests: the first is due at once, and those that follow within the pause are due
/// together at its end.
#[derive(Debug)]
pub(super) struct Throttle {
    pause: Duration,
    next: Instant,
    is_wanted: bool,
}

impl Throttle {
    /// Makes a throttle with this pause between two actions.
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, next: Instant::now(), is_wanted: false }
    }

    /// Requests the action.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Waits until the action is due, or for ever while nobody has requested it. May be dropped at
    /// any time.
    pub(super) async fn due(&mut self) {
        if !self.is_wanted {
            std::future::pending::<()>().await;
        }
        sleep_until(self.next).await;
        self.is_wanted = false;
        self.next = Instant::now() + self.pause;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_first_wish_is_granted_at_once_and_those_that_follow_together() {
        let pause = Duration::from_millis(50);
        let mut throttle = Throttle::new(pause);
        assert!(timeout(pause, throttle.due()).await.is_err(), "nobody wants it");
        throttle.want();
        throttle.due().await;
        let first = Instant::now();
        for _ in 0..1000 {
            throttle.want();
        }
        throttle.due().await;
        assert!(first.elapsed() >= pause);
        assert!(timeout(2 * pause, throttle.due()).await.is_err(), "all were granted");
    }
}
