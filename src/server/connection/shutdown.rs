//! Graceful shutdown of a connection: the orders of its drain signal, and how each protocol tells
//! its client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use tokio::sync::futures::Notified;

use super::builder::OnThisThread;
use crate::proxy::reply_body::ReplyBody;
use crate::server::drain::DrainSignal;

/// A connection of hyper that can be shut down gracefully.
pub(super) trait GracefulConnection: Future<Output = Result<(), hyper::Error>> {
    /// Whether the client learns of the end only from a header of an answer (`Connection: close`).
    /// Such a connection, told to finish while idle, could close just as the next request is on its
    /// way.
    const CLOSES_BY_HEADER: bool;

    /// Finishes the open requests and takes no new ones.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<S, B, I> GracefulConnection for http1::UpgradeableConnection<I, S>
where
    Self: Future<Output = Result<(), hyper::Error>>,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const CLOSES_BY_HEADER: bool = true;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        http1::UpgradeableConnection::graceful_shutdown(self);
    }
}

impl<S, B, I> GracefulConnection for http2::Connection<I, S, OnThisThread>
where
    Self: Future<Output = Result<(), hyper::Error>>,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    OnThisThread: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    /// GOAWAY names the last request that is answered.
    const CLOSES_BY_HEADER: bool = false;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        http2::Connection::graceful_shutdown(self);
    }
}

/// Tells an HTTP/1 client that no answer will follow this one. hyper adds the header only if it was
/// told to finish before the request.
pub(super) fn set_connection_close(response: &mut Response<ReplyBody>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The orders of a drain signal, as one connection receives them.
pub(super) struct Orders<'p, 'a> {
    drain: &'a DrainSignal,
    notified: Pin<&'p mut Notified<'a>>,
    /// Number of the last order to shed that was seen.
    shed_seen: u32,
}

impl<'p, 'a> Orders<'p, 'a> {
    /// Listens to a drain signal from now on, through a `notified` made from its
    /// [`changed`](DrainSignal::changed).
    pub fn new(drain: &'a DrainSignal, notified: Pin<&'p mut Notified<'a>>) -> Self {
        Self { drain, notified, shed_seen: drain.to_shed().0 }
    }

    /// Has the task of `cx` woken by the next order.
    pub fn register(&mut self, cx: &mut Context<'_>) {
        // An earlier order is found by checking the state, as after every wake.
        let _: Poll<()> = self.notified.as_mut().poll(cx);
    }

    /// Returns how long a connection must have been idle to be shed, once for each such order.
    pub fn take_shed(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        let (round, idle_for) = self.drain.to_shed();
        if self.shed_seen == round {
            return None;
        }
        self.shed_seen = round;
        self.notified.set(self.drain.changed().notified());
        self.register(cx);
        Some(idle_for)
    }

    /// Returns whether every connection is to finish.
    pub fn is_draining(&self) -> bool {
        self.drain.is_draining()
    }
}
