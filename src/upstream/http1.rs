//! HTTP/1.1 connections to a member.
//!
//! A connection has no task of its own: whoever waits for its answer reads and writes it, within
//! the same task that serves the client. That saves a wake-up and a context switch between tasks
//! for every byte that arrives, and a task's memory for every idle watcher. hyper's client wants to
//! be driven beside its response, which cost a third of a request's instructions and most of a
//! watcher's memory; so the protocol (RFC 9112) is spoken here, on httparse, and only as much of it
//! as a proxy needs:
//!
//! * [`request`] writes a head and says how its body is framed, [`outbox`] holds what is not yet
//!   written;
//! * [`head`] reads the head of a response, [`framing`] says how its body ends;
//! * [`connection`] is the stream with both, [`body`] is what the client reads from it;
//! * [`whole_chunk`] holds a chunk until it is whole, so that a member's chunk arrives as one.
//!
//! The price: a request body goes up only while the caller waits for the answer's head or reads its
//! body. HTTP/1.1 is made that way round; only a client that streams into a JSON watch without ever
//! reading could tell.
//!
//! Nothing drives an idle connection. That its member has closed it is noticed when it is taken for
//! the next request, or by the sweep of its [`IdlePool`].

pub mod ask;
pub mod body;
mod chunked;
mod connection;
pub mod error;
mod framing;
mod head;
pub mod idle;
mod outbox;
pub mod request;
mod upload;
mod whole_chunk;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Method, Response};

pub use self::body::ResponseBody;
use self::connection::Connection;
pub use self::error::Error;
use self::idle::{IdleConn, IdlePool};
pub use self::request::RequestHead;
pub use self::whole_chunk::ChunkBudget;
use crate::message::replay_body::ReplayBody;
use crate::tls::HandshakeError;

/// Why a request got no response head.
#[derive(Debug)]
pub struct SendError {
    /// Whether nothing of the request was sent, so that it may be sent elsewhere.
    pub unsent: bool,
    /// The error.
    pub error: Error,
    /// Why the member has turned us away in TLS, if it has: see
    /// [`MemberIoState::refusal`](super::io::MemberIoState::refusal).
    pub refusal: Option<HandshakeError>,
}

impl IdleConn {
    /// Sends a request and waits for the head of its response. The connection goes back to `home`
    /// once the response's body has ended.
    ///
    /// Cancelling closes the connection, which is how a member learns of it.
    ///
    /// # Errors
    /// [`SendError`] when the connection fails, or the client's body does.
    pub fn send(
        mut self,
        head: &RequestHead<'_>,
        body: ReplayBody,
        home: Rc<IdlePool>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, SendError>> + use<> {
        self.connection.begin(head, body);
        let is_head = head.method == Method::HEAD;
        Sending { connection: Some(self.connection), home, is_head }
    }
}

/// A request under way, until the head of its response has arrived.
struct Sending {
    /// `None` once the head has arrived.
    connection: Option<Box<Connection>>,
    /// The pool that gets the connection back.
    home: Rc<IdlePool>,
    is_head: bool,
}

impl Future for Sending {
    type Output = Result<Response<ResponseBody>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(connection) = &mut this.connection else { return Poll::Pending };
        let written = connection.poll_upload(cx);
        if let Poll::Ready(Err(error @ Error::ClientBody(_))) = written {
            return Poll::Ready(Err(SendError { unsent: false, error, refusal: None }));
        }
        // A member may answer and close before it has read everything: its answer counts more than
        // our failed write.
        let error = match (connection.poll_head(cx, this.is_head), written) {
            // The member's answer in HTTP/2 tells more than our failed write.
            (Poll::Ready(Err(error @ Error::Http2)), _) => error,
            (Poll::Ready(Ok((head, framing))), _) => {
                let connection = this.connection.take();
                let body = ResponseBody::new(connection, framing, this.home.clone());
                return Poll::Ready(Ok(head.map(|()| body)));
            }
            (_, Poll::Ready(Err(error))) | (Poll::Ready(Err(error)), _) => error,
            (Poll::Pending, _) => return Poll::Pending,
        };
        let refusal = connection.refusal();
        Poll::Ready(Err(SendError { unsent: !connection.has_written(), error, refusal }))
    }
}

#[cfg(test)]
mod tests;
