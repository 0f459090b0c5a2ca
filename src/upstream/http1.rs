//! HTTP/1.1 connections to a member.
//!
//! A connection has no task of its own: whoever waits for its answer drives it, within the same task that serves
//! the client. That saves a wake-up and a context switch between tasks for every byte that arrives, and a task's
//! memory for every idle watcher. hyper's response future and body are woken only by the driver that we poll
//! ourselves, so they are polled with a waker that does nothing, always after the driver; the driver has a
//! [`Signal`] for its waker.
//!
//! The price: a request body goes up only while somebody waits for the answer's head or reads its body. HTTP/1.1 is made
//! that way round, and only a client that streams into a JSON watch without ever reading could tell.
//!
//! An idle connection is driven by nobody. Whether its member has closed it is seen when it is taken up again, and
//! by the sweep of its [`Link`](super::link::Link).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;

use super::io::MemberIo;
use super::link::Link;
use super::signal::Signal;
use crate::message::request_body::RequestBody;

/// Largest head of a response that is accepted; etcd's are far below, and the limit is a member's, not a client's.
const MAX_HEAD: usize = 1024 * 1024;

/// The part of a connection that reads and writes, with the signal that it has something to do.
struct Driver {
    connection: Pin<Box<http1::Connection<TokioIo<MemberIo>, RequestBody>>>,
    signal: Signal,
}

impl Driver {
    /// Drives the connection if anything has happened on it. Returns whether it is still open.
    fn drive(&mut self) -> bool {
        !self.signal.lower()
            || self.connection.as_mut().poll(&mut self.signal.context()).is_pending()
    }
}

/// A connection without a request on it.
pub struct Idle {
    sender: SendRequest<RequestBody>,
    driver: Driver,
    since: Instant,
    kept: bool,
}

/// A request that got no response head.
pub struct Lost {
    /// The request, when nothing of it was sent.
    pub unsent: Option<Request<RequestBody>>,
    /// Why.
    pub error: hyper::Error,
}

/// Speaks HTTP/1.1 over a stream.
///
/// # Errors
/// hyper's; none are known for a stream that is open.
pub async fn handshake(io: MemberIo) -> Result<Idle, hyper::Error> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake::<_, RequestBody>(TokioIo::new(io))
        .await?;
    let driver = Driver { connection: Box::pin(connection), signal: Signal::raised() };
    Ok(Idle { sender, driver, since: Instant::now(), kept: false })
}

impl Idle {
    /// Whether the member has neither closed it nor said anything unasked.
    pub fn is_alive(&mut self) -> bool {
        self.driver.drive() && self.sender.is_ready()
    }

    /// Since when it has been idle.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether it has carried a request before, so that its member may be about to close it.
    pub fn was_kept(&self) -> bool {
        self.kept
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// Cancelling closes the connection, which is how a member learns of it.
    ///
    /// # Errors
    /// [`Lost`], with the request when it may be sent elsewhere without risk.
    pub fn send(
        mut self,
        request: Request<RequestBody>,
        link: Rc<Link>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Box<Lost>>> {
        let response = self.sender.try_send_request(request);
        Sending { response, driver: Some(self.driver), sender: Some(self.sender), link }
    }
}

pin_project! {
    // Not an async function: that would hold the request three times over.
    struct Sending<F> {
        #[pin]
        response: F,
        driver: Option<Driver>,
        sender: Option<SendRequest<RequestBody>>,
        link: Rc<Link>,
    }
}

impl<F> Future for Sending<F>
where
    F: Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>,
{
    type Output = Result<Response<ResponseBody>, Box<Lost>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Dropping a driver that has ended resolves the response if it is not resolved yet.
        this.driver.take_if(|driver| !driver.drive());
        let answer = this.response.poll(&mut Context::from_waker(Waker::noop()));
        if let (Poll::Pending, Some(driver)) = (&answer, &*this.driver) {
            driver.signal.wait(cx);
        }
        Poll::Ready(match ready!(answer) {
            Ok(response) => Ok(response.map(|body| ResponseBody {
                body: Some(body),
                driver: this.driver.take(),
                sender: this.sender.take(),
                link: this.link.clone(),
            })),
            Err(mut error) => {
                Err(Box::new(Lost { unsent: error.take_message(), error: error.into_error() }))
            }
        })
    }
}

/// The body of a response, which drives the connection that it arrives on.
///
/// When it is dropped the connection goes back to its link if the exchange was complete, else it is closed.
pub struct ResponseBody {
    body: Option<Incoming>,
    driver: Option<Driver>,
    sender: Option<SendRequest<RequestBody>>,
    link: Rc<Link>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let quiet = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(quiet) {
            return Poll::Ready(frame);
        }
        this.driver.take_if(|driver| !driver.drive());
        let frame = Pin::new(body).poll_frame(quiet);
        if let (Poll::Pending, Some(driver)) = (&frame, &this.driver) {
            driver.signal.wait(cx);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // First the body: if it was not read to its end, the driver now sees that nobody wants it and closes.
        self.body = None;
        let (Some(mut driver), Some(sender)) = (self.driver.take(), self.sender.take()) else {
            return;
        };
        if driver.drive() && sender.is_ready() {
            self.link.put_idle(Idle { sender, driver, since: Instant::now(), kept: true });
        }
    }
}
