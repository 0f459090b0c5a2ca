//! A test member: it answers every gRPC call with a header that names [`CLUSTER`].

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};

/// The cluster that the member belongs to.
pub const CLUSTER: u64 = 1;

/// A message with a `ResponseHeader` that names [`CLUSTER`].
const MESSAGE: &[u8] = &[0, 0, 0, 0, 4, 0x0a, 2, 0x08, 1];

/// A scripted member.
pub struct Member {
    /// Where it listens.
    pub at: SocketAddr,
    late: Rc<Cell<Duration>>,
    closes: Rc<Cell<usize>>,
    answered: Rc<Cell<usize>>,
    _accepting: JoinHandle<()>,
}

impl Member {
    /// Starts one on a loopback port. Needs a `LocalSet`.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (late, closes) = (Rc::new(Cell::new(Duration::ZERO)), Rc::new(Cell::new(0)));
        let answered = Rc::new(Cell::new(0));
        let (lateness, closing, counted) = (late.clone(), closes.clone(), answered.clone());
        let _accepting = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match closing.get() {
                    0 => drop(spawn_local(serve(stream, lateness.clone(), counted.clone()))),
                    left => closing.set(left - 1),
                }
            }
        });
        Self { at, late, closes, answered, _accepting }
    }

    /// Delays its answers to Watch by `late`.
    pub fn be_late(&self, late: Duration) {
        self.late.set(late);
    }

    /// Waits until it has answered `calls` calls.
    pub async fn answers(&self, calls: usize) {
        while self.answered.get() < calls {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes it close the next `connections` connections as soon as it accepts them; with 0 it
    /// serves them again.
    pub fn close_at_once(&self, connections: usize) {
        self.closes.set(connections);
    }
}

async fn serve(stream: TcpStream, late: Rc<Cell<Duration>>, answered: Rc<Cell<usize>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let is_watch = request.uri().path().ends_with("/Watch");
        let late = if is_watch { late.get() } else { Duration::ZERO };
        let answered = answered.clone();
        spawn_local(async move {
            tokio::time::sleep(late).await;
            // The caller may be gone.
            let Ok(mut stream) = respond.send_response(Response::new(()), false) else { return };
            let _ = stream.send_data(Bytes::from_static(MESSAGE), false);
            let _ = stream.send_trailers(HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static("0"),
            )]));
            answered.set(answered.get() + 1);
        });
    }
}
