//! Drives a client connection to its end.
//!
//! hyper runs the protocol. After each poll, a [`Driver`] examines the connection and decides when
//! to finish or to close it:
//!
//! ```text
//! Serving ──(drain, idle HTTP/1)──> Lingering ──(request, or LINGER over)──┐
//!    └─────(expired, shed, or drain in any other case)─────────────────────┴──> Finishing
//! ```
//!
//! A connection ends when hyper's future completes, which happens soon after it was told to finish.
//! It is cut, in any state, if its client owes bytes for too long or has sent no request in time;
//! if it is shed and its protocol cannot announce that; and if it was told to finish, has nothing
//! to finish and did not end.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use super::shutdown::{GracefulConnection, Orders};
use super::unflushed::UnflushedGuard;
use crate::proxy::client::Client;
use crate::server::drain::{DrainSignal, LINGER};
use crate::server::io::ClientIoState;
use crate::server::limits::ClientTimeouts;
use crate::server::service;

/// Predicate for a connection that has been without requests for longer than its protocol allows.
type IsExpired = fn(&Client, ClientTimeouts, Instant) -> bool;

/// Drives a connection until it ends by itself or is closed by being dropped.
pub(super) async fn drive<C: GracefulConnection>(
    mut connection: Pin<&mut C>,
    io_state: &ClientIoState,
    client: &Client,
    drain: &DrainSignal,
    is_expired: IsExpired,
) {
    let notified = pin!(drain.changed().notified());
    let timer = pin!(sleep(drain.timeouts().idle_check_interval));
    let mut driver = Driver {
        state: State::Serving,
        orders: Orders::new(drain, notified),
        timer,
        unflushed: UnflushedGuard::new(&client.worker),
        client,
        io_state,
        drain,
        is_expired,
        closes_by_header: C::CLOSES_BY_HEADER,
    };
    poll_fn(|cx| {
        driver.register(cx);
        Poll::Ready(())
    })
    .await;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                note_malformed(client, io_state, ended);
                return Poll::Ready(());
            }
            match driver.next_step(cx) {
                Step::Wait => return Poll::Pending,
                Step::PollAgain => {}
                Step::Finish => connection.as_mut().graceful_shutdown(),
                Step::Close => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// The state of a connection on the way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Takes requests.
    Serving,
    /// Was idle when its listener began to drain, and announces its end by a header: takes one more
    /// request, whose answer has that header, or ends after [`LINGER`].
    Lingering,
    /// hyper was told to take no new requests.
    Finishing,
}

/// What to do with a connection whose poll is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Wait until its task is woken.
    Wait,
    /// Poll it, so that it finds a client that has hung up.
    PollAgain,
    /// Tell hyper to finish it, and poll it.
    Finish,
    /// Close it at once.
    Close,
}

/// Decides after each poll what to do with a connection.
struct Driver<'p, 'a> {
    state: State,
    orders: Orders<'p, 'a>,
    /// Fires when the connection is to be checked, or has lingered for long enough.
    timer: Pin<&'p mut Sleep>,
    unflushed: UnflushedGuard<'a>,
    client: &'a Client,
    io_state: &'a ClientIoState,
    drain: &'a DrainSignal,
    is_expired: IsExpired,
    /// [`GracefulConnection::CLOSES_BY_HEADER`].
    closes_by_header: bool,
}

impl Driver<'_, '_> {
    /// Has the task of `cx` woken by the drain signal and by the timer.
    fn register(&mut self, cx: &mut Context<'_>) {
        self.orders.register(cx);
        let _: Poll<()> = self.timer.as_mut().poll(cx);
    }

    /// Returns what to do after a poll of the connection. Usually nothing but that poll has
    /// happened.
    fn next_step(&mut self, cx: &mut Context<'_>) -> Step {
        self.unflushed.set(self.io_state.has_unwritten() && self.client.idle_since().is_some());
        if let Some(idle_for) = self.orders.take_shed(cx)
            && self.is_to_shed(idle_for)
        {
            return self.shed();
        }
        if self.timer.is_elapsed() {
            return self.on_timer(cx);
        }
        if self.orders.is_draining() {
            return self.on_drain(cx);
        }
        Step::Wait
    }

    /// Returns whether the connection is not finishing and has been idle for at least `idle_for`.
    fn is_to_shed(&self, idle_for: Duration) -> bool {
        let idle = self.client.idle_since().filter(|_| !self.unflushed.is_held());
        self.state != State::Finishing && idle.is_some_and(|since| since.elapsed() >= idle_for)
    }

    /// Ends the connection to free its memory.
    #[cold]
    fn shed(&mut self) -> Step {
        self.client.worker.counters.connection_shed();
        if self.closes_by_header {
            return Step::Close;
        }
        self.state = State::Finishing;
        Step::Finish
    }

    /// Begins to end the connection, since its listener drains.
    #[cold]
    fn on_drain(&mut self, cx: &mut Context<'_>) -> Step {
        match self.state {
            State::Serving if self.can_linger() => self.linger(cx),
            State::Lingering if self.can_linger() => Step::Wait,
            State::Serving | State::Lingering => {
                self.finish(cx, self.drain.timeouts().idle_check_interval)
            }
            State::Finishing => Step::Wait,
        }
    }

    /// Checks the connection: every [`ClientTimeouts::idle_check_interval`], or after lingering.
    #[cold]
    fn on_timer(&mut self, cx: &mut Context<'_>) -> Step {
        let (now, timeouts) = (Instant::now(), self.drain.timeouts());
        let mut next_check = timeouts.idle_check_interval;
        if let Some(since) = owes_since(self.client, self.io_state, self.closes_by_header) {
            let owed_for = now.saturating_duration_since(since);
            if owed_for >= timeouts.owed {
                return Step::Close;
            }
            next_check = next_check.min(timeouts.owed - owed_for);
        }
        let is_expired = (self.is_expired)(self.client, timeouts, now);
        if is_expired && !self.client.has_asked() {
            return Step::Close;
        }
        match self.state {
            State::Finishing if self.has_nothing_to_finish(timeouts, now) => return Step::Close,
            State::Serving if !is_expired && self.orders.is_draining() && self.can_linger() => {
                return self.linger(cx);
            }
            State::Serving | State::Lingering | State::Finishing => {}
        }
        self.client.sweep(now);
        if self.state != State::Finishing && (is_expired || self.orders.is_draining()) {
            return self.finish(cx, next_check);
        }
        self.rearm(cx, next_check);
        if self.client.idle_since().is_some() {
            return Step::Wait;
        }
        self.io_state.check_hangup();
        Step::PollAgain
    }

    /// Returns whether the connection was told to finish at least one check ago, has no request
    /// open, and is still there: its client does not read, or speaks HTTP/2 and answers no PING.
    fn has_nothing_to_finish(&self, timeouts: ClientTimeouts, now: Instant) -> bool {
        self.client.idle_since().is_some()
            && (!self.unflushed.is_held() || is_expired_http1(self.client, timeouts, now))
    }

    /// Returns whether the connection should still answer one more request if it comes soon.
    fn can_linger(&self) -> bool {
        let is_idle = self.client.idle_since().is_some() && !self.unflushed.is_held();
        self.closes_by_header && is_idle
    }

    fn linger(&mut self, cx: &mut Context<'_>) -> Step {
        self.state = State::Lingering;
        self.rearm(cx, LINGER);
        Step::Wait
    }

    fn finish(&mut self, cx: &mut Context<'_>, next_check: Duration) -> Step {
        self.state = State::Finishing;
        self.rearm(cx, next_check);
        Step::Finish
    }

    /// Restarts the timer.
    fn rearm(&mut self, cx: &mut Context<'_>, after: Duration) {
        self.timer.as_mut().reset(tokio::time::Instant::now() + after);
        let _: Poll<()> = self.timer.as_mut().poll(cx);
    }
}

/// Returns since when the client owes the rest of what it has begun to send while it waits for
/// nothing itself: the body of every open request, a frame, or a head. The next head of an HTTP/1
/// client counts only from the end of the answer before. While something is unwritten we may not
/// have read what has arrived, so nothing counts as owed.
fn owes_since(client: &Client, io_state: &ClientIoState, is_http1: bool) -> Option<Instant> {
    if io_state.has_unwritten() {
        return None;
    }
    let begun = match is_http1 {
        true => client.idle_since().and_then(|idle| Some(io_state.owes_since()?.max(idle))),
        false => io_state.owes_since(),
    };
    client.owes_since().into_iter().chain(begun).min()
}

/// Returns whether an HTTP/1 client has failed to send its first head in time, or has later been
/// idle for [`ClientTimeouts::idle`].
pub(super) fn is_expired_http1(client: &Client, timeouts: ClientTimeouts, now: Instant) -> bool {
    let limit = if client.has_asked() { timeouts.idle } else { timeouts.first_head };
    client.idle_since().is_some_and(|since| now.saturating_duration_since(since) >= limit)
}

/// Returns whether an HTTP/2 client has not made its first call within [`ClientTimeouts::idle`].
/// Later it may stay idle: gRPC clients keep connections without calls for as long as they live.
pub(super) fn is_expired_http2(client: &Client, timeouts: ClientTimeouts, now: Instant) -> bool {
    !client.has_asked()
        && client
            .idle_since()
            .is_some_and(|since| now.saturating_duration_since(since) >= timeouts.idle)
}

/// Reports a client whose malformed bytes ended its connection.
fn note_malformed(client: &Client, io_state: &ClientIoState, ended: Result<(), hyper::Error>) {
    if let Some(why) = io_state.malformed() {
        service::note_malformed(client, &why);
    } else if let Some(complaint) = ended.err().and_then(complaint) {
        service::note_malformed(client, &complaint);
    }
}

/// Returns what the client did wrong in its protocol, if that ended its connection. The text never
/// has bytes of the client.
fn complaint(error: hyper::Error) -> Option<String> {
    if error.is_parse() {
        return Some(error.to_string());
    }
    let h2 = std::error::Error::source(&error)?.downcast_ref::<h2::Error>()?;
    let reason = h2.reason().filter(|_| h2.is_library() && h2.is_go_away())?;
    Some(format!("HTTP/2: {}", reason.description()))
}
