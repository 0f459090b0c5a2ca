//! The body of an answer on its way to the client.
//!
//! It streams: each part is passed on as it arrives, trailers included. When a member is lost after
//! the head, the client never sees a clean end: gRPC clients get UNAVAILABLE in trailers, HTTP
//! clients a cut connection or stream. Dropping the body, because it is complete or the client has
//! left, releases or cancels the member's side.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::futures::OwnedNotified;

use super::hung::{Carrier, Hung};
use super::member_body::MemberBody;
use super::meter::Meter;
use super::worker::Worker;
use crate::message::reason::Reason;
use crate::message::reply::{Code, GRPC_MESSAGE, GRPC_STATUS};
use crate::message::rpc::RpcKind;
use crate::upstream::http1;
use crate::upstream::http2::{self, Part};
use crate::upstream::worker_endpoint::{InFlight, WorkerEndpoint};

/// The body of an answer: our own, or a member's with everything that must live as long.
pub struct ReplyBody {
    source: Source,
    meter: Option<Meter>,
    _in_flight: Option<InFlight>,
    interrupts: Option<Box<Interrupts>>,
}

enum Source {
    Whole(Bytes),
    /// Bytes and the trailers after them; rare, so boxed.
    Trailed(Box<(Bytes, HeaderMap)>),
    Http1(http1::ResponseBody),
    Http2(Box<http2::ResponseBody>),
    /// Only a reset of the stream.
    Reset(h2::Reason),
    Ended,
}

/// The events that end a long stream before its member does: its member hangs or is no longer
/// listed, or the proxy stops.
pub struct Interrupts {
    recheck: Pin<Box<OwnedNotified>>,
    worker: Rc<Worker>,
    upstream: Rc<WorkerEndpoint>,
    hung: Hung,
}

/// The reason why a body was cut short.
#[derive(Debug)]
pub enum BodyError {
    /// The member's HTTP/1.1 connection failed.
    Connection(http1::Error),
    /// The member reset the stream; the client's is reset for the same reason.
    Reset(h2::Error),
    /// The member went silent, is no longer listed, or the proxy is stopping.
    Interrupted,
}

impl Interrupts {
    /// Arms the interrupts of a long stream.
    pub fn new(worker: &Rc<Worker>, upstream: &Rc<WorkerEndpoint>, kind: RpcKind) -> Box<Self> {
        let recheck = Box::pin(worker.recheck().clone().notified_owned());
        let hung = Hung::go_on(kind);
        Box::new(Self { recheck, worker: worker.clone(), upstream: upstream.clone(), hung })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.worker.is_ending() {
                return Poll::Ready(());
            }
            let Self { worker, upstream, hung, .. } = self;
            if hung.poll(cx, worker, upstream, &Carrier::default()).is_ready() {
                return Poll::Ready(());
            }
            ready!(self.recheck.as_mut().poll(cx));
            if self.hung.recheck(&self.upstream) {
                return Poll::Ready(());
            }
            self.recheck.set(self.worker.recheck().clone().notified_owned());
        }
    }
}

impl ReplyBody {
    /// Creates the body of an answer of our own.
    pub fn whole(bytes: Bytes, meter: Option<Meter>) -> Self {
        Self { source: Source::Whole(bytes), meter, _in_flight: None, interrupts: None }
    }

    /// Creates a body that resets the client's stream with the member's reason.
    pub fn reset(reason: h2::Reason, mut meter: Meter) -> Self {
        meter.was_reset();
        Self {
            source: Source::Reset(reason),
            meter: Some(meter),
            _in_flight: None,
            interrupts: None,
        }
    }

    /// Creates the body of an answer that was held whole. It has no meter, since it was already
    /// counted.
    pub fn with_trailers(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        let source = match trailers {
            Some(trailers) => Source::Trailed(Box::new((bytes, trailers))),
            None => Source::Whole(bytes),
        };
        Self { source, meter: None, _in_flight: None, interrupts: None }
    }

    /// Drops a body of our own in answer to a HEAD request; hyper does so for HTTP/1 only.
    pub fn for_head(mut self) -> Self {
        if let Source::Whole(_) = self.source {
            self.source = Source::Ended;
        }
        self
    }

    /// Creates the body of a member's answer.
    pub fn of_member(
        body: MemberBody,
        meter: Meter,
        in_flight: InFlight,
        interrupts: Option<Box<Interrupts>>,
    ) -> Self {
        let source = match body {
            MemberBody::Http1(body) => Source::Http1(body),
            MemberBody::Http2(body) => Source::Http2(body),
        };
        Self { source, meter: Some(meter), _in_flight: Some(in_flight), interrupts }
    }

    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Ended => Poll::Ready(None),
            Source::Reset(reason) => {
                let reason = *reason;
                self.source = Source::Ended;
                Poll::Ready(Some(Err(BodyError::Reset(reason.into()))))
            }
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Ended;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Source::Trailed(whole) => {
                let (bytes, trailers) = &mut **whole;
                if !bytes.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))));
                }
                let trailers = std::mem::take(trailers);
                Poll::Ready(Some(Ok(self.end_with(trailers))))
            }
            Source::Http1(body) => body
                .poll_part(cx, self.meter.as_ref().map(Meter::chunk_budget))
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Connection))),
            Source::Http2(body) => {
                let part = ready!(body.poll_part(cx));
                Poll::Ready(self.pass_on(part))
            }
        }
    }

    fn pass_on(
        &mut self,
        part: Result<Part, h2::Error>,
    ) -> Option<Result<Frame<Bytes>, BodyError>> {
        match part {
            Ok(Part::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Part::Trailers(trailers)) => Some(Ok(self.end_with(trailers))),
            Ok(Part::End) => {
                self.source = Source::Ended;
                None
            }
            Err(error) if error.is_reset() => {
                self.source = Source::Ended;
                Some(Err(BodyError::Reset(error)))
            }
            Err(_) => Some(Ok(self.end_with(unavailable(
                Reason::ConnectionLost,
                "etcd-proxy: the connection to the member was lost",
            )))),
        }
    }

    /// Ends a stream on an interrupt, as its protocol requires: with trailers for gRPC, with an
    /// error for HTTP/1.1.
    fn interrupt(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        match &self.source {
            Source::Http2(_) => {
                let stops = self.interrupts.as_ref().is_some_and(|it| it.worker.is_ending());
                let (reason, text) = match stops {
                    true => (Reason::Stopping, "etcd-proxy: stopping"),
                    false => (Reason::MemberUnavailable, "etcd-proxy: the member is not available"),
                };
                Some(Ok(self.end_with(unavailable(reason, text))))
            }
            Source::Http1(_) => {
                self.source = Source::Ended;
                Some(Err(BodyError::Interrupted))
            }
            Source::Whole(_) | Source::Trailed(_) | Source::Reset(_) | Source::Ended => None,
        }
    }

    fn end_with(&mut self, trailers: HeaderMap) -> Frame<Bytes> {
        self.source = Source::Ended;
        if let Some(meter) = &mut self.meter {
            meter.trailers(&trailers);
        }
        Frame::trailers(trailers)
    }
}

fn unavailable(reason: Reason, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(3);
    trailers.insert(GRPC_STATUS, HeaderValue::from(Code::Unavailable as u16));
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
    reason.set(&mut trailers);
    trailers
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = this.poll_source(cx) {
            return Poll::Ready(frame);
        }
        match this.interrupts.as_mut().map(|interrupts| interrupts.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(this.interrupt()),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ended => true,
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Trailed(_) | Source::Reset(_) => false,
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Ended => SizeHint::with_exact(0),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Http1(body) => body.size_hint(),
            Source::Trailed(_) | Source::Http2(_) | Source::Reset(_) => SizeHint::new(),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(_) => f.write_str("the member's connection failed"),
            Self::Reset(_) => f.write_str("the member reset the stream"),
            Self::Interrupted => f.write_str("the member is not available"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connection(error) => Some(error),
            Self::Reset(error) => Some(error),
            Self::Interrupted => None,
        }
    }
}
