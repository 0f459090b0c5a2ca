//! Waiting for a member's answer, and what ends the waiting early.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};

use super::failure::Failure;
use super::worker::Worker;
use crate::upstream::link::Link;

/// Waits for `answer`, until the proxy must stop or, if `interruptible`, the member goes silent.
///
/// # Errors
/// [`Failure::Stopping`] or [`Failure::Silent`]; `answer` is dropped then, which cancels it at the member.
pub async fn for_answer<T>(
    mut answer: Pin<&mut impl Future<Output = T>>,
    worker: &Worker,
    link: &Link,
    interruptible: bool,
) -> Result<T, Failure> {
    let mut alarm = pin!(worker.alarm().notified());
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            // Only an alarm makes it look: a member that was silent before may be tried all the same, and a request that
            // comes in while the last connections say goodbye may still be answered.
            ready!(alarm.as_mut().poll(cx));
            if worker.is_ending() {
                return Poll::Ready(Err(Failure::Stopping));
            }
            if interruptible && link.is_lost() {
                return Poll::Ready(Err(Failure::Silent));
            }
            alarm.set(worker.alarm().notified());
        }
    })
    .await
}
