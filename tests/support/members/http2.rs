//! A scripted member's side of HTTP/2, on h2 itself: one stream, and whatever the test does with
//! it.

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
    /// Which member it came to.
    pub member: usize,
    /// Which of that member's connections it came on, from 0.
    pub connection: usize,
    /// Method, target and headers.
    pub head: Request<()>,
    /// What the client sends.
    pub body: RecvStream,
    respond: SendResponse<Bytes>,
    end: watch::Sender<End>,
}

/// What a test wants of a whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    GoOn,
    GoAway,
    Cut,
}

/// Serves a connection until it ends, or the test ends it.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // The daemon's own connections are counted nowhere.
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
    /// Answers what the daemon itself asks.
    fn answer_daemon(self, shared: &Shared) {
        self.answer(&shared.header());
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.head.uri().path()
    }

    /// Reads what the client sends to its end; trailers are returned with it.
    pub async fn read_all(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        let mut all = Vec::new();
        while let Some(data) = self.body.data().await {
            let data = data?;
            let _ = self.body.flow_control().release_capacity(data.len());
            all.extend_from_slice(&data);
        }
        Ok((all, self.body.trailers().await?))
    }

    /// Reads the next piece of what the client sends; `None` at its end.
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

    /// Answers with a status alone, in the head.
    pub fn refuse(mut self, code: u16, message: &str) {
        let head = grpc_head().header("grpc-status", code).header("grpc-message", message);
        let _ = self.respond.send_response(head.body(()).expect("a head"), true);
    }

    /// Holds the stream open without an answer until it is reset or its connection ends.
    pub async fn hold(mut self) {
        self.until_reset().await;
    }

    /// Sends the head of an answer.
    pub fn begin(self) -> Reply {
        self.begin_with(grpc_head().body(()).expect("a head"))
    }

    /// Sends this head.
    pub fn begin_with(mut self, head: Response<()>) -> Reply {
        let stream = self.respond.send_response(head, false).expect("a stream that goes on");
        Reply { stream, body: self.body, end: self.end }
    }

    /// Resets the stream.
    pub fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Waits until the stream is reset from the other side, or its connection ends (then `None`).
    pub async fn until_reset(&mut self) -> Option<Reason> {
        std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await.ok()
    }

    /// Cuts the connection, without a word on its streams.
    pub fn cut(self) {
        let _ = self.end.send(End::Cut);
        // Dropped earlier, the stream would be reset first.
        tokio::spawn(async move {
            self.end.closed().await;
            drop(self);
        });
    }

    /// Says GOAWAY on the connection, in the graceful way.
    pub fn go_away(&self) {
        // A connection that is to be cut is cut, whatever else is wanted of it.
        self.end.send_if_modified(|end| {
            let goes_on = *end == End::GoOn;
            *end = if goes_on { End::GoAway } else { *end };
            goes_on
        });
    }
}

/// An answer that has begun.
pub struct Reply {
    /// Where it is sent.
    pub stream: SendStream<Bytes>,
    /// What the client sends meanwhile.
    pub body: RecvStream,
    end: watch::Sender<End>,
}

impl Reply {
    /// Sends one gRPC message.
    pub fn message(&mut self, message: &[u8]) {
        // The stream may be reset; then nobody wants it.
        let _ = self.stream.send_data(framed(message), false);
    }

    /// Sends bytes that need be no message, and waits until there is room for them.
    pub async fn bytes(&mut self, mut bytes: Bytes) -> Result<(), h2::Error> {
        while !bytes.is_empty() {
            self.stream.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|cx| self.stream.poll_capacity(cx)).await;
            let room = room.ok_or(Reason::CANCEL)??;
            self.stream.send_data(bytes.split_to(room.min(bytes.len())), false)?;
        }
        Ok(())
    }

    /// Sends one gRPC message when there is room for it.
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

    /// Waits until the stream is reset from the other side, or its connection ends (then `None`).
    pub async fn until_reset(&mut self) -> Option<Reason> {
        std::future::poll_fn(|cx| self.stream.poll_reset(cx)).await.ok()
    }

    /// Cuts the connection, without a word on its streams.
    pub fn cut(self) {
        let _ = self.end.send(End::Cut);
        // Dropped earlier, the stream would be reset first.
        tokio::spawn(async move {
            self.end.closed().await;
            drop(self);
        });
    }
}

fn grpc_head() -> http::response::Builder {
    Response::builder().header("content-type", "application/grpc")
}

/// One gRPC message with its prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a message below 4 GiB"));
    frame.extend_from_slice(message);
    frame.freeze()
}
