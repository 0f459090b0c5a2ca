//! A gRPC client directly on HTTP/2 that gives access to single messages, half-close, stalls and
//! the end of a connection.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use prost::Message;

use super::tls::{Dialer, Stream};

/// The reason why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server answered with a status other than 0.
    Status {
        /// gRPC status code.
        code: u32,
        /// `grpc-message` as sent.
        message: String,
    },
    /// The stream or connection broke, or the answer was not gRPC.
    Broken(String),
}

impl Failure {
    /// Returns the gRPC status code, if there is one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::Broken(_) => None,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { code, message } => write!(f, "status {code}: {message}"),
            Self::Broken(text) => write!(f, "broken: {text}"),
        }
    }
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Broken(error.to_string())
}

/// One HTTP/2 connection. Clones share it; it closes when all clones and calls are dropped.
#[derive(Clone)]
pub struct Channel {
    send: SendRequest<Bytes>,
    authority: String,
    metadata: Vec<(String, String)>,
    line: Arc<Line>,
}

/// The state of the connection, shared with the task that drives it.
#[derive(Default)]
struct Line {
    stalled: AtomicBool,
    waker: Mutex<Option<Waker>>,
    pings: Mutex<Option<h2::PingPong>>,
    ended: Mutex<Option<String>>,
}

impl Channel {
    /// Connects by prior knowledge to `HOST:PORT`, with the stream window of Go's clients.
    pub async fn open(address: &str) -> Result<Self, Failure> {
        Self::open_by(&Dialer::plain(), address).await
    }

    /// Connects to `HOST:PORT`, with TLS if the dialer has it.
    pub async fn open_by(dialer: &Dialer, address: &str) -> Result<Self, Failure> {
        let stream = dialer.dial(address, "h2").await.map_err(broken)?;
        // The connection's window is wide so that an unread stream holds up no other stream on this
        // side. h2 allows unread small frames half of that window, and that budget must never be
        // the reason why the connection ends.
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(65_535).initial_connection_window_size(64 << 20);
        builder.max_concurrent_reset_streams(10_000).initial_max_send_streams(10_000);
        let (send, mut connection) = builder.handshake::<_, Bytes>(stream).await.map_err(broken)?;
        let line = Arc::new(Line::default());
        *line.pings.lock().expect("pings") = connection.ping_pong();
        tokio::spawn(drive(connection, line.clone()));
        Ok(Self { send, authority: address.to_owned(), metadata: Vec::new(), line })
    }

    /// Returns the same connection with one more metadata entry on each call.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.metadata.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Stops reading and writing the socket, like a process stopped with SIGSTOP, or resumes it.
    pub fn stall(&self, stalled: bool) {
        self.line.stalled.store(stalled, Ordering::Relaxed);
        if let Some(waker) = self.line.waker.lock().expect("waker").take() {
            waker.wake();
        }
    }

    /// Returns how the connection ended; `None` while it is open.
    pub fn ended(&self) -> Option<String> {
        self.line.ended.lock().expect("ended").clone()
    }

    /// Takes the handle for PINGs, of which h2 gives out one; `None` if it was taken before.
    pub fn pings(&self) -> Option<h2::PingPong> {
        self.line.pings.lock().expect("pings").take()
    }

    /// Opens a call without sending a message.
    pub async fn call(&self, path: &str) -> Result<Call, Failure> {
        let mut request = http::Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "etcd-proxy-tests");
        for (name, value) in &self.metadata {
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(broken)?;
        let mut ready = self.send.clone().ready().await.map_err(broken)?;
        let (response, send) = ready.send_request(request, false).map_err(broken)?;
        Ok(Call { send, response: Some(response), body: None, buffer: BytesMut::new() })
    }

    /// Makes a unary call with encoded messages.
    pub async fn unary_bytes(&self, path: &str, request: &[u8]) -> Result<Bytes, Failure> {
        let mut call = self.call(path).await?;
        call.send_bytes(request, true)?;
        let answer = call.next_bytes().await?.ok_or_else(|| broken("no message and status 0"))?;
        match call.next_bytes().await? {
            None => Ok(answer),
            Some(_) => Err(broken("two messages")),
        }
    }

    /// Makes a unary call.
    pub async fn unary<A: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
    ) -> Result<A, Failure> {
        let answer = self.unary_bytes(path, &request.encode_to_vec()).await?;
        A::decode(answer).map_err(broken)
    }
}

/// Drives the connection, except while it is stalled.
async fn drive(connection: h2::client::Connection<Box<dyn Stream>, Bytes>, line: Arc<Line>) {
    let mut connection = pin!(connection);
    let end = std::future::poll_fn(|context| {
        *line.waker.lock().expect("waker") = Some(context.waker().clone());
        if line.stalled.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        connection.as_mut().poll(context)
    });
    let text = match end.await {
        Ok(()) => "closed".to_owned(),
        Err(error) => error.to_string(),
    };
    *line.ended.lock().expect("ended") = Some(text);
}

/// One call; dropping it before its end resets the stream.
pub struct Call {
    send: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    buffer: BytesMut,
}

impl Call {
    /// Sends a message and leaves the sending side open.
    pub fn send(&mut self, message: &impl Message) -> Result<(), Failure> {
        self.send_bytes(&message.encode_to_vec(), false)
    }

    /// Sends an encoded message, and closes the sending side if it is the last.
    pub fn send_bytes(&mut self, message: &[u8], last: bool) -> Result<(), Failure> {
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).expect("a message below 4 GiB"));
        frame.extend_from_slice(message);
        self.send.send_data(frame.freeze(), last).map_err(broken)
    }

    /// Sends bytes that need not be a gRPC message.
    pub fn send_raw(&mut self, bytes: &[u8], last: bool) -> Result<(), Failure> {
        self.send.send_data(Bytes::copy_from_slice(bytes), last).map_err(broken)
    }

    /// Closes the sending side (half-close).
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.send.send_data(Bytes::new(), true).map_err(broken)
    }

    /// Waits for the next message; `None` if the call ended with status 0.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Failure> {
        match self.next_bytes().await? {
            Some(bytes) => M::decode(bytes).map(Some).map_err(broken),
            None => Ok(None),
        }
    }

    /// Waits for the head of the answer. A trailers-only answer is `Ok` with status 0 and a failure
    /// otherwise.
    pub async fn head(&mut self) -> Result<(), Failure> {
        let Some(response) = self.response.take() else { return Ok(()) };
        let response = response.await.map_err(broken)?;
        if response.status() != 200 {
            return Err(broken(format!("HTTP status {}", response.status())));
        }
        if response.headers().contains_key("grpc-status") {
            status(response.headers())?;
        }
        self.body = Some(response.into_body());
        Ok(())
    }

    /// Waits for the next message in its encoded form; `None` if the call ended with status 0.
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, Failure> {
        self.head().await?;
        let Some(body) = self.body.as_mut() else { return Ok(None) };
        loop {
            if let Some(message) = take_message(&mut self.buffer) {
                return Ok(Some(message));
            }
            let Some(data) = body.data().await else { break };
            let data = data.map_err(broken)?;
            let _ = body.flow_control().release_capacity(data.len());
            self.buffer.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.map_err(broken)?;
        let trailers = trailers.ok_or_else(|| broken("the stream ended without a status"))?;
        status(&trailers).map(|()| None)
    }
}

fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let header = buffer.get(..5)?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}

fn status(headers: &HeaderMap) -> Result<(), Failure> {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status").parse() {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Status { code, message: text("grpc-message").to_owned() }),
        Err(_) => Err(broken("no readable grpc-status")),
    }
}
