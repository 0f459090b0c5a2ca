//! A request body that can be sent again.
//!
//! It streams straight through. While a retry is possible it also keeps the chunks it has passed
//! on, up to [`KEEP_LIMIT`] bytes, so that [`Replay::again`] can start over on another member.
//! Keeping costs reference counts, not copies. Beyond the limit the current attempt goes on, and a
//! retry is no longer possible.
//!
//! Invariant: only the newest reader made by `new` or `again` is polled.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::owed::Debt;

/// Most bytes of a request body kept for a retry. etcd's reads are far smaller, and so are most of
/// its writes.
pub const KEEP_LIMIT: usize = 64 * 1024;

/// Overhead counted for each kept chunk besides its bytes, so that many small chunks are not
/// underestimated.
const CHUNK_COST: usize = 64;

/// One reader of a client's request body.
pub struct ReplayBody {
    /// `None` for a body that is empty from the start, which costs no allocation.
    source: Option<Rc<RefCell<Source>>>,
    /// Number of kept chunks this reader has returned.
    next: usize,
    /// Bytes this reader has returned, for an exact size hint.
    given: u64,
}

/// The client's body, and the chunks kept from it.
struct Source {
    /// `None` once the body has ended, and for a body that was complete from the start.
    incoming: Option<Incoming>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    keeping: bool,
    /// Exact length of the whole body, if declared.
    length: Option<u64>,
    /// `None` where a client may legitimately be silent for long.
    debt: Option<Debt>,
}

impl ReplayBody {
    /// Creates the first reader of `incoming`, keeping chunks for a retry. `debt` is told whenever
    /// the next piece is awaited.
    pub fn new(incoming: Incoming, debt: Option<Debt>) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let length = incoming.size_hint().exact();
        Self::over(Source {
            incoming: Some(incoming),
            kept: Vec::new(),
            kept_bytes: 0,
            keeping: true,
            length,
            debt,
        })
    }

    /// Creates an empty body.
    pub fn empty() -> Self {
        Self { source: None, next: 0, given: 0 }
    }

    /// Creates a body of `bytes`, which can always be sent again.
    pub fn whole(bytes: Bytes) -> Self {
        Self::over(Source {
            incoming: None,
            length: Some(bytes.len() as u64),
            kept_bytes: bytes.len(),
            kept: vec![bytes],
            keeping: true,
            debt: None,
        })
    }

    /// Creates a body of `pieces`, all available at once.
    #[cfg(test)]
    pub fn pieces(pieces: Vec<Bytes>) -> Self {
        Self::over(Source {
            incoming: None,
            length: None,
            kept_bytes: pieces.iter().map(Bytes::len).sum(),
            kept: pieces,
            keeping: true,
            debt: None,
        })
    }

    fn over(source: Source) -> Self {
        Self { source: Some(Rc::new(RefCell::new(source))), next: 0, given: 0 }
    }

    /// Returns a handle to read the same body again from its start.
    pub fn replay(&self) -> Replay {
        Replay(self.source.clone())
    }
}

/// A handle to send a request body once more.
pub struct Replay(Option<Rc<RefCell<Source>>>);

impl Replay {
    /// Returns a new reader that starts at the first byte, or `None` when the body was not kept
    /// completely.
    pub fn again(&self) -> Option<ReplayBody> {
        match &self.0 {
            None => Some(ReplayBody::empty()),
            Some(source) if source.borrow().keeping => {
                Some(ReplayBody { source: Some(source.clone()), next: 0, given: 0 })
            }
            Some(_) => None,
        }
    }

    /// Takes the unread rest of the client's body; `None` when there is none. Ends the retry.
    pub fn take_unread(&self) -> Option<Incoming> {
        let mut source = self.0.as_ref()?.borrow_mut();
        source.keeping = false;
        source.debt = None;
        source.incoming.take()
    }

    /// Ends the retry and releases the kept chunks. Called when the response is being forwarded.
    pub fn release(&self) {
        if let Some(source) = &self.0 {
            // The chunks are dropped by the reader itself, once it has returned all of them: a
            // reader that lags behind would lose some otherwise.
            source.borrow_mut().keeping = false;
        }
    }
}

impl Source {
    fn keep(&mut self, chunk: &Bytes) {
        if !self.keeping {
            return;
        }
        self.kept_bytes += chunk.len() + CHUNK_COST;
        if self.kept_bytes > KEEP_LIMIT {
            self.keeping = false;
        } else {
            self.kept.push(chunk.clone());
        }
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(source) = &this.source else { return Poll::Ready(None) };
        let source = &mut *source.borrow_mut();
        if let Some(chunk) = source.kept.get(this.next) {
            this.next += 1;
            this.given += chunk.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if !source.keeping && !source.kept.is_empty() {
            source.kept = Vec::new();
            this.next = 0;
        }
        let Some(incoming) = &mut source.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(next) = Pin::new(incoming).poll_frame(cx) else {
            source.debt.as_mut().map(Debt::wait);
            return Poll::Pending;
        };
        source.debt.as_mut().map(Debt::come);
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // The kept chunks are not the whole body, and hyper would report its end at the
                // next read.
                source.keeping = false;
                source.kept = Vec::new();
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                source.incoming = None;
                return Poll::Ready(None);
            }
        };
        if let Some(chunk) = frame.data_ref() {
            this.given += chunk.len() as u64;
            source.keep(chunk);
            if source.keeping {
                this.next = source.kept.len();
            } else if !source.kept.is_empty() {
                source.kept = Vec::new();
                this.next = 0;
            }
        } else {
            // Trailers cannot be replayed.
            source.keeping = false;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let Some(source) = &self.source else { return true };
        let source = source.borrow();
        self.next >= source.kept.len() && source.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(source) = &self.source else { return SizeHint::with_exact(0) };
        match source.borrow().length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.given)),
            None => SizeHint::new(),
        }
    }
}
