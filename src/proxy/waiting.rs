//! Waits for a member's answer or for a free slot, and ends the wait early when it is pointless.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};

use super::failure::Failure;
use super::hung::{Carrier, Hung};
use super::worker::Worker;
use crate::message::rpc::RpcKind;
use crate::upstream::on_demand::WaitingWrite;
use crate::upstream::worker_endpoint::WorkerEndpoint;

/// Waits for `answer`, until the proxy must stop or waiting for the member is pointless; when that
/// is so depends on `kind` ([`super::hung`]).
///
/// # Errors
/// [`Failure::Stopping`] or [`Failure::Silent`]; `answer` is dropped then, which cancels it at the
/// member.
pub async fn await_or_abort<T>(
    mut answer: Pin<&mut impl Future<Output = T>>,
    worker: &Worker,
    upstream: &Rc<WorkerEndpoint>,
    kind: RpcKind,
    carrier: &Carrier,
) -> Result<T, Failure> {
    let mut recheck = pin!(worker.recheck().notified());
    let mut hung = Hung::begin(kind, upstream);
    let write = (kind == RpcKind::Write).then(|| WaitingWrite::begin(upstream));
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            write.iter().for_each(WaitingWrite::answered);
            return Poll::Ready(Ok(answer));
        }
        loop {
            if hung.poll(cx, worker, upstream, carrier).is_ready() {
                return Poll::Ready(Err(Failure::Silent));
            }
            // Checked only on a recheck signal: a member that was silent before may be tried all
            // the same, and a request that arrives during the last moments of draining may still be
            // answered.
            ready!(recheck.as_mut().poll(cx));
            if worker.is_ending() {
                return Poll::Ready(Err(Failure::Stopping));
            }
            if hung.recheck(upstream) {
                return Poll::Ready(Err(Failure::Silent));
            }
            recheck.set(worker.recheck().notified());
        }
    })
    .await
}

/// Waits for `slot`, until the proxy must stop.
///
/// # Errors
/// [`Failure::Stopping`]; `slot` is dropped then.
pub async fn for_slot(
    mut slot: Pin<&mut impl Future<Output = ()>>,
    worker: &Worker,
) -> Result<(), Failure> {
    let mut recheck = pin!(worker.recheck().notified());
    poll_fn(|cx| {
        if slot.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(recheck.as_mut().poll(cx));
            if worker.is_ending() {
                return Poll::Ready(Err(Failure::Stopping));
            }
            recheck.set(worker.recheck().notified());
        }
    })
    .await
}
