//! Waiting for a member's answer, and what ends the waiting early.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

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
    let mut stopping = pin!(worker.ending().notified());
    let mut silent = pin!(link.interrupt().notified());
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        if worker.is_ending() || stopping.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Failure::Stopping));
        }
        if interruptible && silent.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Failure::Silent));
        }
        Poll::Pending
    })
    .await
}
