//! The body of a request on its way to a member.
//!
//! It streams straight through. While a retry is still possible it also keeps what it has passed
//! on, up to [`KEEP_LIMIT`] bytes, so that [`Replay::again`] can start over on another member.
//! Keeping costs reference counts, not copies; over the limit the present attempt goes on and a
//! retry is off.
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

/// Bytes of a request body that are kept for a retry: etcd's reads are far below, its writes
/// mostly.
pub const KEEP_LIMIT: usize = 64 * 1024;

/// What a kept chunk costs besides its bytes, so that many small ones are not cheaper than they
/// are.
const CHUNK_COST: usize = 64;

/// One reader of a client's request body.
pub struct ReplayBody {
    /// `None` for a body that is empty from the start, which costs no allocation.
    source: Option<Rc<RefCell<Source>>>,
    /// How many of the kept chunks this reader has given out.
    next: usize,
    /// Bytes this reader has given out, for an exact size hint.
    given: u64,
}

/// The client's body, and what was read of it so far.
struct Source {
    /// `None` once it has ended, and for a body that was whole from the start.
    incoming: Option<Incoming>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    keeping: bool,
    /// Exact length of the whole body, when it was declared.
    length: Option<u64>,
    /// `None` where a client may rightly send nothing for long.
    debt: Option<Debt>,
}

impl ReplayBody {
    /// Makes the first reader of `incoming`, keeping chunks for a retry. `debt` knows when more of
    /// it is waited for.
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

    /// Makes a body without content.
    pub fn empty() -> Self {
        Self { source: None, next: 0, given: 0 }
    }

    /// Makes a body of these bytes, which can always be sent again.
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

    /// Makes a body of these pieces, which follow each other without a pause.
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

    /// Returns a handle by which the same body can be read again from its start.
    pub fn replay(&self) -> Replay {
        Replay(self.source.clone())
    }
}

/// What is needed to send a request's body once more.
pub struct Replay(Option<Rc<RefCell<Source>>>);

impl Replay {
    /// Returns a new reader from the first byte on, or `None` when the body was not kept whole.
    pub fn again(&self) -> Option<ReplayBody> {
        match &self.0 {
            None => Some(ReplayBody::empty()),
            Some(source) if source.borrow().keeping => {
                Some(ReplayBody { source: Some(source.clone()), next: 0, given: 0 })
            }
            Some(_) => None,
        }
    }

    /// Takes out what the client has not sent yet; `None` when nothing is to come.
    pub fn take_unread(&self) -> Option<Incoming> {
        let mut source = self.0.as_ref()?.borrow_mut();
        source.keeping = false;
        source.debt = None;
        source.incoming.take()
    }

    /// Gives up the retry and releases what was kept: the response is passed on.
    pub fn release(&self) {
        if let Some(source) = &self.0 {
            // A reader that is still behind would lose chunks, so the chunks stay until it has
            // them.
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
                // What was kept is not the whole body, and hyper would call the next read its end.
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
            // Trailers can be passed on only once.
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
