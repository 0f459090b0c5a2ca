//! When waiting for a member that gives no sign of life ends.
//!
//! A read goes to the next member at once. A write might have been carried out, and the member may
//! come back within moments, so it is given up only after [`HUNG_AFTER`]; over HTTP/2 its own
//! connection must have been quiet as well, with a PING unanswered. A stream leaves as soon as
//! there is a better member: one through which a quorum has answered since the silence began. Right
//! after a leader has hung there is none for a second or two, and clients that came back at once
//! would be told "no leader" over and over.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::worker::Worker;
use crate::message::rpc::RpcKind;
use crate::upstream::http2::Connection;
use crate::upstream::link::Link;
use crate::upstream::silence::HUNG_AFTER;

/// Pause between two looks at a member that is silent.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a PING must have been unanswered to count: a round trip on the worst line.
const PING_ALLOWED: Duration = Duration::from_secs(1);

/// The HTTP/2 connection that carries a request, once there is one.
pub type Carrier = Cell<Option<Rc<Connection>>>;

/// Watches over the waiting of one request or stream.
pub struct Hung {
    kind: RpcKind,
    /// While the member is silent; rare, so in a box.
    watch: Option<Pin<Box<Watch>>>,
}

struct Watch {
    timer: Pin<Box<Sleep>>,
    /// Since when nothing was heard.
    quiet_since: Instant,
    /// How often something had been read from the carrier when it was last looked at.
    reads: Option<u64>,
}

/// What a look at the member has shown.
enum Look {
    Over,
    Again,
    Alive,
}

impl Hung {
    /// Watches over a request of this kind that begins to wait for `link`'s member now.
    pub fn begin(kind: RpcKind, link: &Link) -> Self {
        let mut hung = Self::go_on(kind);
        if kind == RpcKind::Write && link.endpoint.is_silent() {
            hung.watch(Instant::now());
        }
        hung
    }

    /// Watches over a stream that has begun.
    pub fn go_on(kind: RpcKind) -> Self {
        Self { kind, watch: None }
    }

    /// Looks at the member after an alarm. Returns whether waiting for it ends at once.
    pub fn look(&mut self, link: &Link) -> bool {
        match (self.kind, link.endpoint.silence.since()) {
            (RpcKind::Read, _) => return link.is_lost(),
            (RpcKind::Stream | RpcKind::Bulk, _) if link.is_gone() => return true,
            (_, Some(since)) => self.watch(since),
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

    /// Ready when waiting has been in vain for long enough.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        link: &Rc<Link>,
        carrier: &Carrier,
    ) -> Poll<()> {
        while let Some(watch) = &mut self.watch {
            ready!(watch.timer.as_mut().poll(cx));
            let look = match self.kind {
                RpcKind::Write => watch.look_at_write(link, carrier),
                _ => watch.look_at_stream(worker, link),
            };
            match look {
                Look::Over => return Poll::Ready(()),
                Look::Alive => self.watch = None,
                Look::Again => {
                    watch.timer.as_mut().reset(tokio::time::Instant::now() + LOOK_EVERY);
                }
            }
        }
        Poll::Pending
    }
}

impl Watch {
    fn look_at_write(&mut self, link: &Link, carrier: &Carrier) -> Look {
        let Some(since) = link.endpoint.silence.since() else { return Look::Alive };
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
        if quiet >= HUNG_AFTER && ping_is_unanswered { Look::Over } else { Look::Again }
    }

    fn look_at_stream(&self, worker: &Worker, link: &Rc<Link>) -> Look {
        let Some(since) = link.endpoint.silence.since() else { return Look::Alive };
        let view = worker.view();
        let better = view.links.iter().any(|other| {
            !Rc::ptr_eq(other, link)
                && other.endpoint.is_usable()
                && other.endpoint.silence.is_proven_since(since)
        });
        if better || since.elapsed() >= HUNG_AFTER { Look::Over } else { Look::Again }
    }
}
