//! A scripted member's side of HTTP/2, built on h2: one stream, and the frames that the test sends
//! on it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Arrival, Shared};

/// A request whose head has arrived.
pub struct Call {
    /// The member that received it.
    pub member: usize,
    /// The number of its connection among that member's, from 0.
    pub connection: usize,
    /// Method, target and headers.
    pub head: Request<()>,
    /// The body that the client sends.
    pub body: RecvStream,
    respond: SendResponse<Bytes>,
    end: watch::Sender<End>,
}

/// How a test ends a whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    GoOn,
    GoAway,
    Cut,
}

/// Serves a connection until it ends or the test ends it.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Connections with nothing but the daemon's own requests are not counted.
    let mut counted = None;
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(64 << 20);
    builder.max_header_list_size(1 << 20).max_concurrent_reset_streams(10_000);
    builder.max_pending_accept_reset_streams(10_000).data_frame_budget(usize::MAX >> 1);
    if shared.has_no_window() {
        builder.initial_window_size(0);
    }
    let (mut frozen, mut cut) = (shared.frozen(), shared.until_cut());
    let mut closed_windows = shared.closed_windows();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut unanswered = Vec::new();
    let (end, mut ended) = watch::channel(End::GoOn);
    loop {
        if *frozen.borrow_and_update() {
            let _ = frozen.changed().await;
            continue;
        }
        tokio::select! {
            _ = frozen.changed() => {}
            _ = closed_windows.changed() => {
                connection.set_initial_window_size(0).expect("settings");
            }
            _ = cut.changed() => return,
            accepted = connection.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                let hop = request.headers().get("etcd-proxy-hop");
                let is_own = hop.is_none_or(|hop| hop == "proof");
                let number = match &counted {
                    Some((number, _)) => *number,
                    None if is_own => 0,
                    None => counted.insert((shared.connected(), shared.opened())).0,
                };
                let (head, body) = request.into_parts();
                let call = Call {
                    member: shared.member,
                    connection: number,
                    head: Request::from_parts(head, ()),
                    body,
                    respond,
                    end: end.clone(),
                };
                if is_own {
                    shared.count_asked();
                }
                if is_own && call.path() == "/etcdserverpb.Watch/Watch" {
                    shared.count_proof();
                }
                match is_own {
                    true if shared.hangs() => unanswered.push(call),
                    true if shared.has_no_quorum() && call.path().ends_with("/Range") => {
                        unanswered.push(call);
                    }
                    true => call.answer_daemon(&shared),
                    false => shared.hand_over(Arrival::Http2(call)),
                }
            }
            Ok(()) = ended.changed() => match *ended.borrow() {
                End::GoOn => {}
                End::GoAway => connection.graceful_shutdown(),
                End::Cut => return,
            },
        }
    }
}

impl Call {
    /// Answers a request of the daemon itself.
    fn answer_daemon(self, shared: &Shared) {
        self.answer(&shared.header());
    }

    /// Returns the path.
    pub fn path(&self) -> &str {
        self.head.uri().path()
    }

    /// Reads the client's body to its end and returns it with its trailers.
    pub async fn read_all(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        let mut all = Vec::new();
        while let Some(data) = self.body.data().await {
            let data = data?;
            let _ = self.body.flow_control().release_capacity(data.len());
            all.extend_from_slice(&data);
        }
        Ok((all, self.body.trailers().await?))
    }

    /// Reads the next piece of the client's body; `None` at its end.
    pub async fn read(&mut self) -> Option<Bytes> {
        let data = self.body.data().await?.expect("a stream that goes on");
        let _ = self.body.flow_control().release_capacity(data.len());
        Some(data)
    }

    /// Answers with one message and status 0.
    pub fn answer(self, message: &[u8]) {
        let mut reply = self.begin();
        reply.message(message);
        reply.finish(0, "");
    }

    /// Answers with a gRPC status in the head alone (trailers-only).
    pub fn refuse(mut self, code: u16, message: &str) {
        let head = grpc_head().header("grpc-status", code).header("grpc-message", message);
        let _ = self.respond.send_response(head.body(()).expect("a head"), true);
    }

    /// Keeps the stream open without an answer until it is reset or its connection ends.
    pub async fn hold(mut self) {
        self.until_reset().await;
    }

    /// Sends the head of an answer.
    pub fn begin(self) -> Reply {
        self.begin_with(grpc_head().body(()).expect("a head"))
    }

    /// Sends this head of an answer.
    pub fn begin_with(mut self, head: Response<()>) -> Reply {
        let stream = self.respond.send_response(head, false).expect("a stream that goes on");
        Reply { stream, body: self.body, end: self.end }
    }

    /// Resets the stream.
    pub fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Waits until the other side resets the stream; `None` if its connection ends instead.
    pub async fn until_reset(&mut self) -> Option<Reason> {
        std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await.ok()
    }

    /// Closes the connection without a frame on its streams.
    pub fn cut(self) {
        let _ = self.end.send(End::Cut);
        // If `self` were dropped earlier, the stream would be reset first.
        tokio::spawn(async move {
            self.end.closed().await;
            drop(self);
        });
    }

    /// Sends GOAWAY as a graceful shutdown of the connection.
    pub fn go_away(&self) {
        // A pending cut takes precedence over a GOAWAY.
        self.end.send_if_modified(|end| {
            let goes_on = *end == End::GoOn;
            *end = if goes_on { End::GoAway } else { *end };
            goes_on
        });
    }
}

/// An answer whose head was sent.
pub struct Reply {
    /// The sending side.
    pub stream: SendStream<Bytes>,
    /// The body that the client still sends.
    pub body: RecvStream,
    end: watch::Sender<End>,
}

impl Reply {
    /// Sends one gRPC message.
    pub fn message(&mut self, message: &[u8]) {
        // An error means that the stream was reset, so nobody waits for the message.
        let _ = self.stream.send_data(framed(message), false);
    }

    /// Sends bytes that need not be a message, and waits for the window to allow them.
    pub async fn bytes(&mut self, mut bytes: Bytes) -> Result<(), h2::Error> {
        while !bytes.is_empty() {
            self.stream.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|cx| self.stream.poll_capacity(cx)).await;
            let room = room.ok_or(Reason::CANCEL)??;
            self.stream.send_data(bytes.split_to(room.min(bytes.len())), false)?;
        }
        Ok(())
    }

    /// Sends one gRPC message when the window allows it.
    pub async fn message_when_room(&mut self, message: &[u8]) -> Result<(), h2::Error> {
        self.bytes(framed(message)).await
    }

    /// Ends with a status.
    pub fn finish(mut self, code: u16, message: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.into());
        if !message.is_empty() {
            trailers.insert("grpc-message", http::HeaderValue::from_static(message));
        }
        let _ = self.stream.send_trailers(trailers);
    }

    /// Resets the stream.
    pub fn reset(mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Waits until the other side resets the stream; `None` if its connection ends instead.
    pub async fn until_reset(&mut self) -> Option<Reason> {
        std::future::poll_fn(|cx| self.stream.poll_reset(cx)).await.ok()
    }

    /// Closes the connection without a frame on its streams.
    pub fn cut(self) {
        let _ = self.end.send(End::Cut);
        // If `self` were dropped earlier, the stream would be reset first.
        tokio::spawn(async move {
            self.end.closed().await;
            drop(self);
        });
    }
}

fn grpc_head() -> http::response::Builder {
    Response::builder().header("content-type", "application/grpc")
}

/// Encodes one gRPC message with its prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a message below 4 GiB"));
    frame.extend_from_slice(message);
    frame.freeze()
}
