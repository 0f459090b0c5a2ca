//! A small gRPC client for the control plane: calls of etcd's v3 API, with prost messages over
//! HTTP/2.
//!
//! Clients' calls pass through `upstream` as bytes and never come here. This client makes the few
//! calls of the proxy itself, a handful a day, so it has no pool and no retry: the caller decides
//! what a failure means. A task drives each connection, and is aborted when the [`Channel`] is
//! dropped. The other side is not trusted: a unary answer has a size limit, and a unary call its
//! caller's deadline.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::header::{HeaderMap, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::message::grpc::{self, FirstMessage, Progress};
use crate::net::abort_on_drop::AbortOnDrop;

/// Largest answer to a unary call, in bytes; a member list or a registry has some kilobytes.
const MOST: usize = 4 << 20;
/// gRPC's code UNIMPLEMENTED: the server does not know the method.
pub const UNIMPLEMENTED: u8 = 12;

/// An HTTP/2 connection that carries calls.
pub struct Channel {
    /// The first field, so that the task is aborted before the handles are dropped.
    _driver: AbortOnDrop,
    sender: SendRequest<Bytes>,
    scheme: Scheme,
    authority: Authority,
    token: Option<HeaderValue>,
    pings: Option<h2::PingPong>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The server answered with a status other than OK: the code and the message.
    Status(u8, String),
    /// The connection broke, or could not be used. Whether the call took effect is unknown.
    Lost(String),
    /// The other side is no gRPC server, or its answer cannot be parsed.
    Strange(String),
    /// No answer within this limit. Whether the call took effect is unknown.
    TimedOut(Duration),
}

impl Channel {
    /// Starts HTTP/2 over `stream`, which is connected to `authority` (`HOST:PORT`); `secure` means
    /// that it is TLS.
    ///
    /// # Errors
    /// When `authority` is malformed, or the preface cannot be written.
    pub async fn over<S>(stream: S, authority: &str, secure: bool) -> Result<Self, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let authority = Authority::try_from(authority)
            .map_err(|_| CallError::Lost(format!("{authority} is no host and port")))?;
        let (sender, mut connection) = h2::client::handshake(stream).await?;
        let pings = connection.ping_pong();
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "gRPC connection of the control plane ended");
            }
        });
        let scheme = if secure { Scheme::HTTPS } else { Scheme::HTTP };
        let driver = AbortOnDrop(driver.abort_handle());
        Ok(Self { _driver: driver, sender, scheme, authority, token: None, pings })
    }

    /// Logs in, and sends the token with every later call.
    ///
    /// # Errors
    /// As [`Channel::call`]; a wrong password is INVALID_ARGUMENT (3), a cluster without
    /// authentication FAILED_PRECONDITION (9).
    pub async fn authenticate(
        &mut self,
        name: &str,
        password: &str,
        limit: Duration,
    ) -> Result<(), CallError> {
        let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let answer: AuthenticateResponse =
            self.call("/etcdserverpb.Auth/Authenticate", &request, limit).await?;
        let token = HeaderValue::from_str(&answer.token)
            .map_err(|_| CallError::Strange("a token that is no header".to_owned()))?;
        self.token = Some(token);
        Ok(())
    }

    /// Makes one unary call. Dropping the future resets the stream.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<A: Message + Default>(
        &self,
        path: &'static str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<A, CallError> {
        let message = tokio::time::timeout(limit, self.exchange(path, request.encode_to_vec()))
            .await
            .unwrap_or(Err(CallError::TimedOut(limit)))?;
        A::decode(message.as_slice()).map_err(|error| CallError::Strange(error.to_string()))
    }

    /// Opens a stream and sends its first message; `last` means that no other one follows.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn open(
        &self,
        path: &'static str,
        message: &[u8],
        last: bool,
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), CallError> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(self.head(path), false)?;
        stream.send_data(framed(message), last)?;
        Ok((response, stream))
    }

    /// Sends a ping after each pause of `every`, and returns the error when one fails or has no
    /// answer within `limit`. etcd closes the connection when pings come less than 5 s apart, or
    /// while no call is open.
    pub async fn lost(&mut self, every: Duration, limit: Duration) -> CallError {
        // Never `None`: h2 gives its ping handle to the first that asks, and `over` did.
        let Some(pings) = &mut self.pings else { return std::future::pending().await };
        loop {
            tokio::time::sleep(every).await;
            match tokio::time::timeout(limit, pings.ping(h2::Ping::opaque())).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return CallError::TimedOut(limit),
            }
        }
    }

    async fn exchange(&self, path: &'static str, message: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let (response, _stream) = self.open(path, &message, true).await?;
        read(response.await?).await
    }

    fn head(&self, path: &'static str) -> Request<()> {
        let mut request = grpc::request(self.scheme.clone(), self.authority.clone(), path);
        if let Some(token) = &self.token {
            request.headers_mut().insert("token", token.clone());
        }
        request
    }
}

/// Reads the one message of a unary answer.
async fn read(response: Response<h2::RecvStream>) -> Result<Vec<u8>, CallError> {
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(CallError::Strange(format!("HTTP status {}", head.status.as_u16())));
    }
    if head.headers.contains_key("grpc-status") {
        status(&head.headers)?;
    }
    let mut message = FirstMessage::new(MOST);
    let mut progress = Progress::NeedMore;
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        progress = message.push(&data);
        if progress == Progress::TooLarge {
            return Err(CallError::Strange(format!("an answer of more than {MOST} bytes")));
        }
    }
    status(&body.trailers().await?.unwrap_or_default())?;
    match (progress, message.message()) {
        (Progress::Complete, Some(message)) => Ok(message.to_vec()),
        _ => Err(CallError::Strange("an answer that is not one message".to_owned())),
    }
}

/// Checks the status of a call.
///
/// # Errors
/// When it is not OK, or missing.
pub fn status(trailers: &HeaderMap) -> Result<(), CallError> {
    match grpc::status(trailers) {
        Some(0) => Ok(()),
        Some(code) => {
            let words = trailers.get("grpc-message").map(|words| decoded(words.as_bytes()));
            Err(CallError::Status(code, words.unwrap_or_default()))
        }
        None => Err(CallError::Strange("an answer without grpc-status".to_owned())),
    }
}

/// Decodes gRPC's percent-encoding; a malformed escape stays as it is.
fn decoded(words: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(words.len());
    let mut rest = words;
    while let Some((first, later)) = rest.split_first() {
        let hex = later.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &later[2..];
            }
            None => {
                bytes.push(*first);
                rest = later;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Puts gRPC's prefix before a message: a flag (not compressed) and the length.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat().into()
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code, words) if words.is_empty() => write!(f, "gRPC status {code}"),
            Self::Status(_, words) => f.write_str(words),
            Self::Lost(why) => write!(f, "the connection was lost: {why}"),
            Self::Strange(what) => write!(f, "not an etcd v3 API: {what}"),
            Self::TimedOut(limit) => write!(f, "no answer within {limit:?}"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<h2::Error> for CallError {
    fn from(error: h2::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

#[derive(Clone, PartialEq, Message)]
struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Message)]
struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    token: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_and_junk_is_left_as_it_is() {
        assert_eq!(decoded(b"etcdserver%3A caf%C3%A9"), "etcdserver: caf\u{e9}");
        assert_eq!(decoded(b"100% of %zz%4"), "100% of %zz%4");
    }

    #[test]
    fn a_status_is_ok_or_says_why_not() {
        let trailers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            pairs.iter().map(pair).collect()
        };
        assert_eq!(status(&trailers(&[("grpc-status", "0")])), Ok(()));
        let refused = status(&trailers(&[("grpc-status", "9"), ("grpc-message", "a%20b")]));
        assert_eq!(refused, Err(CallError::Status(9, "a b".to_owned())));
        assert!(matches!(status(&trailers(&[])), Err(CallError::Strange(_))));
    }
}
