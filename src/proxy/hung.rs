//! Decides when to stop waiting for a member that gives no sign of life.
//!
//! A read goes to the next member at once.
//!
//! A write might have been carried out, and the member may come back within moments, so it is given
//! up only after [`HUNG_AFTER`]. Over HTTP/2 the write's own connection must have been quiet as
//! well, with a PING unanswered.
//!
//! A stream ends as soon as there is a better member: one through which a quorum has answered since
//! the silence began. Right after a leader has hung there is none for a second or two, and clients
//! that came back at once would be told "no leader" over and over.
//!
//! A stream also ends for a better member when its own has lived without a quorum for
//! [`NO_QUORUM_ALLOWED`]: no event would come from there any more.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::worker::Worker;
use crate::message::rpc::RpcKind;
use crate::upstream::http2::Connection;
use crate::upstream::silence::HUNG_AFTER;
use crate::upstream::worker_endpoint::WorkerEndpoint;

/// Pause between two checks of a silent member.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// Pause between two checks of a member that has had no quorum for longer than [`RARELY_AFTER`].
const RARELY: Duration = Duration::from_secs(2);
const RARELY_AFTER: Duration = Duration::from_secs(10);
/// How long probes must have found that a member has no quorum before streams leave it: elections
/// take a second or two.
const NO_QUORUM_ALLOWED: Duration = Duration::from_millis(1800);
/// Time after which a PING counts as unanswered: a round trip on the worst line.
const PING_ALLOWED: Duration = Duration::from_secs(1);

/// The HTTP/2 connection that carries a request, once there is one.
pub type Carrier = Cell<Option<Rc<Connection>>>;

/// Watches a member on behalf of one waiting request or stream.
pub struct Hung {
    kind: RpcKind,
    /// Set while the member is silent; rare, so boxed.
    watch: Option<Pin<Box<Watch>>>,
}

struct Watch {
    timer: Pin<Box<Sleep>>,
    /// Start of the quiet time; moved forward when the carrier brings data.
    quiet_since: Instant,
    /// The carrier's read counter at the last check.
    reads: Option<u64>,
}

/// The result of a check.
enum WatchState {
    GiveUp,
    KeepWaiting,
    Alive,
}

impl Hung {
    /// Starts to watch for a request of this kind that begins to wait for `upstream`'s member now.
    pub fn begin(kind: RpcKind, upstream: &WorkerEndpoint) -> Self {
        let mut hung = Self::go_on(kind);
        if kind == RpcKind::Write && upstream.endpoint.is_silent() {
            hung.watch(Instant::now());
        }
        hung
    }

    /// Starts to watch for a stream that already flows.
    pub fn go_on(kind: RpcKind) -> Self {
        Self { kind, watch: None }
    }

    /// Checks the member after a recheck signal. Returns whether the wait ends at once.
    pub fn recheck(&mut self, upstream: &WorkerEndpoint) -> bool {
        let endpoint = &upstream.endpoint;
        match (self.kind, endpoint.silence.since()) {
            (RpcKind::Read, _) => return upstream.is_lost(),
            (RpcKind::Stream | RpcKind::Bulk, _) if upstream.is_gone() => return true,
            (_, Some(since)) => self.watch(since),
            (RpcKind::Stream, None) if let Some(since) = endpoint.no_quorum.since() => {
                self.watch(since);
            }
            (_, None) => {}
        }
        false
    }

    fn watch(&mut self, quiet_since: Instant) {
        self.watch.get_or_insert_with(|| {
            let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
            Box::pin(Watch { timer, quiet_since, reads: None })
        });
    }

    /// Returns ready once the member has been silent for too long.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        upstream: &Rc<WorkerEndpoint>,
        carrier: &Carrier,
    ) -> Poll<()> {
        while let Some(watch) = &mut self.watch {
            ready!(watch.timer.as_mut().poll(cx));
            let state = match self.kind {
                RpcKind::Write => watch.check_write(upstream, carrier),
                kind => watch.check_stream(kind, worker, upstream),
            };
            match state {
                WatchState::GiveUp => return Poll::Ready(()),
                WatchState::Alive => self.watch = None,
                WatchState::KeepWaiting => {
                    // An outage may last, with thousands of streams.
                    let pause = match upstream.endpoint.no_quorum.since() {
                        Some(since) if since.elapsed() > RARELY_AFTER => RARELY,
                        _ => CHECK_EVERY,
                    };
                    watch.timer.as_mut().reset(tokio::time::Instant::now() + pause);
                }
            }
        }
        Poll::Pending
    }
}

impl Watch {
    fn check_write(&mut self, upstream: &WorkerEndpoint, carrier: &Carrier) -> WatchState {
        let Some(since) = upstream.endpoint.silence.since() else { return WatchState::Alive };
        let connection = carrier.take();
        carrier.set(connection.clone());
        let mut ping_is_unanswered = true;
        if let Some(connection) = connection {
            connection.ping();
            ping_is_unanswered =
                connection.unanswered_ping().is_some_and(|waited| waited >= PING_ALLOWED);
            let reads = connection.reads();
            if self.reads.replace(reads).is_some_and(|before| before != reads) {
                self.quiet_since = Instant::now();
            }
        }
        let quiet = since.max(self.quiet_since).elapsed();
        if quiet >= HUNG_AFTER && ping_is_unanswered {
            WatchState::GiveUp
        } else {
            WatchState::KeepWaiting
        }
    }

    fn check_stream(
        &self,
        kind: RpcKind,
        worker: &Worker,
        upstream: &Rc<WorkerEndpoint>,
    ) -> WatchState {
        let silent = upstream.endpoint.silence.since();
        // A snapshot needs no quorum.
        let no_quorum = upstream.endpoint.no_quorum.since().filter(|_| kind == RpcKind::Stream);
        let Some(since) = silent.or(no_quorum) else { return WatchState::Alive };
        let lost = &upstream.endpoint.no_quorum;
        let confirmed = lost.confirmed_for();
        if silent.is_none() && confirmed.is_none_or(|confirmed| confirmed < NO_QUORUM_ALLOWED) {
            return WatchState::KeepWaiting;
        }
        let current = worker.current();
        let better = current.upstreams.iter().any(|other| {
            let is_same_member = other.endpoint.member_id == upstream.endpoint.member_id;
            !Rc::ptr_eq(other, upstream)
                && (silent.is_some() || !is_same_member)
                && other.endpoint.is_usable()
                && other.endpoint.silence.is_proven_since(since)
                // The whole cluster may have just recovered, and this member has not been asked
                // since.
                && (silent.is_some()
                    || lost.last().is_some_and(|last| !other.endpoint.silence.is_proven_since(last)))
        });
        if better || silent.is_some_and(|since| since.elapsed() >= HUNG_AFTER) {
            WatchState::GiveUp
        } else {
            WatchState::KeepWaiting
        }
    }
}
