//! The HTTP/1.1 client of the control plane: one request on a connection of its own.
//!
//! It sends the few requests that the proxy makes for itself: to peers, discovery services and the
//! admin socket, to a member's v2 API, and to a member without gRPC that must prove its cluster.
//! Clients' requests and probes use the connections of `upstream`, and gRPC calls to discovery
//! services and for `promote` use `cluster::grpc`.
//!
//! The other side is not trusted: [`HEAD_LIMIT`] bounds the head of a response and
//! [`Reply::read_body`] its body. The deadline is the caller's, since it includes connecting and
//! redirects. A task drives the connection and is aborted when the future or the [`Reply`] is
//! dropped.

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{StatusCode, response};
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::abort_on_drop::AbortOnDrop;

/// Largest response head that is read, in bytes; hyper wants at least 8 KiB.
pub const HEAD_LIMIT: usize = 64 * 1024;

/// A request; its body is empty or whole.
pub type Request = http::Request<Full<Bytes>>;

/// A response whose head has been read.
#[derive(Debug)]
pub struct Reply {
    /// The status and the headers.
    pub head: response::Parts,
    /// The body, which [`Reply::read_body`] reads whole.
    pub body: Incoming,
    /// Held, since hyper closes a connection whose sender has been dropped.
    _sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDrop,
}

/// Why there is no response head: the connection broke, or the answer is not HTTP/1.1.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NoReply {
    /// hyper's reason.
    pub error: hyper::Error,
    /// The bytes that came and do not make a head; empty if none came.
    pub unread: Bytes,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the limit.
    #[error(transparent)]
    TooLarge(LengthLimitError),
    /// The connection broke before its end, or its framing is malformed.
    #[error(transparent)]
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

/// Why an HTTP proxy gave no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The target does not fit into a request.
    #[error(transparent)]
    Target(http::Error),
    /// The proxy answered with a status other than 2xx.
    #[error("HTTP status {0}")]
    Refused(StatusCode),
    /// The connection to the proxy broke, or the answer is not HTTP/1.1.
    #[error(transparent)]
    Broken(hyper::Error),
}

/// Makes a GET of `uri` that names `host` (`HOST:PORT`) and this version of the proxy.
///
/// # Errors
/// When one of the two does not fit into a request.
pub fn get(uri: &str, host: &str) -> Result<Request, http::Error> {
    http::Request::get(uri)
        .header(HOST, host)
        .header(USER_AGENT, concat!("etcd-proxy/", env!("CARGO_PKG_VERSION")))
        .body(Full::default())
}

/// Sends `request` over `stream` and waits for the head of the response.
///
/// # Errors
/// [`NoReply`]. A response with an error status is a reply.
pub async fn send<S>(stream: S, request: Request) -> Result<Reply, NoReply>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let without_bytes = |error| NoReply { error, unread: Bytes::new() };
    let (mut sender, mut connection) = Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(without_bytes)?;
    let driving = tokio::spawn(async move {
        // Its error comes back through the sender.
        let _ = (&mut connection).await;
        connection.into_parts().read_buf
    });
    let driver = AbortOnDrop(driving.abort_handle());
    match sender.send_request(request).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            Ok(Reply { head, body, _sender: sender, _driver: driver })
        }
        Err(error) => {
            // The connection ends with its last sender, if the error has not ended it.
            drop(sender);
            Err(NoReply { error, unread: driving.await.unwrap_or_default() })
        }
    }
}

impl Reply {
    /// Reads the rest of the body, up to `limit` bytes.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn read_body(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        match Limited::new(&mut self.body, limit).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(match error.downcast() {
                Ok(too_large) => BodyError::TooLarge(*too_large),
                Err(error) => BodyError::Broken(error),
            }),
        }
    }
}

/// Asks the HTTP proxy at the other end of `stream` for a tunnel to `target` (`HOST:PORT`), by
/// CONNECT.
///
/// # Errors
/// [`TunnelError`].
pub async fn tunnel<S>(stream: S, target: &str) -> Result<TokioIo<Upgraded>, TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = http::Request::connect(target)
        .header(HOST, target)
        .body(Empty::<Bytes>::new())
        .map_err(TunnelError::Target)?;
    let (mut sender, connection) = Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(TunnelError::Broken)?;
    let driving = tokio::spawn(connection.with_upgrades());
    let _driver = AbortOnDrop(driving.abort_handle());
    let response = sender.send_request(request).await.map_err(TunnelError::Broken)?;
    if !response.status().is_success() {
        return Err(TunnelError::Refused(response.status()));
    }
    hyper::upgrade::on(response).await.map(TokioIo::new).map_err(TunnelError::Broken)
}

#[cfg(test)]
mod tests;
