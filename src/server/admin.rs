//! The admin socket, which `etcd-proxy status` and `etcd-proxy reload` use.
//!
//! It speaks HTTP/1.1 on a unix socket of mode 0660, one request per connection. `GET /status`
//! returns the [`Snapshot`]. `POST /reload` makes the daemon reload and returns the
//! [`ReloadRecord`] when that is over: 200 when it was applied or found nothing new, 409 when it
//! was refused. Errors are `{"message": ...}`.
//!
//! It runs on the control plane beside everything else, so no client may hold it up: the head must
//! come within 5 s, the answer must be taken within 10 s, and there are at most 64 clients at a
//! time. When more come, the oldest one that owes its head or has not taken its answer is dropped.
//! At most half of the clients wait for a reload: a reload answers all requests that were waiting
//! when it began, and requests beyond [`MOST_RELOADS`] are refused with 503, so that `status`
//! always finds room. State is changed here and on no TCP port, where a web page could reach it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::DirBuilder;
use std::future::Future;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::net::socket_file::{self, SocketFile};
use crate::telemetry::snapshot::{ReloadRecord, Snapshot};

/// Time limit for a client to send its request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// Time limit for a client to read its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Time for open requests after the stop.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Limit of clients at a time; more wait in the kernel's queue.
const MOST: usize = 64;
/// Limit of requests that wait for the reload after the one under way. As many may be waiting for
/// that one.
pub const MOST_RELOADS: usize = MOST / 4;
/// Minimum time that a client gets for its head and its answer, however many clients there are.
const GRACE: Duration = Duration::from_millis(100);
/// Largest head that is read, in bytes.
const HEAD_SIZE: usize = 16 * 1024;
/// Pause after an accept that failed for lack of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The admin socket, bound but not served yet. Dropping it removes the file.
#[derive(Debug)]
pub struct AdminSocket {
    listener: std::os::unix::net::UnixListener,
    file: SocketFile,
}

/// A request for a reload; dropping `answer` tells the client that the daemon is stopping.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Takes the result of the reload.
    pub answer: oneshot::Sender<ReloadRecord>,
}

/// The sources of the answers.
#[derive(Clone)]
pub struct Answers {
    /// Takes a snapshot of the current state; must not block.
    pub snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    /// Queue of requests for a reload, with room for [`MOST_RELOADS`]; more are refused.
    pub reload: mpsc::Sender<ReloadRequest>,
}

impl AdminSocket {
    /// Binds the socket with mode 0660, and creates its directory (0755) if it is missing.
    ///
    /// # Errors
    /// When either fails, as is usual at the default path without root: callers should warn, not
    /// exit.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        let (listener, file) = socket_file::listen(path, Some(0o660))?;
        Ok(Self { listener, file })
    }

    /// Serves until `stop` is ready, then removes the file and gives open requests two seconds.
    /// Dropping the future ends everything at once.
    ///
    /// # Errors
    /// Only at the start, when the runtime cannot register the socket.
    pub async fn serve(self, answers: Answers, stop: impl Future<Output = ()>) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener)?;
        let mut clients = JoinSet::new();
        let mut seats = VecDeque::new();
        tokio::pin!(stop);
        loop {
            let is_full = clients.len() >= MOST;
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = clients.join_next() => {}
                () = give_way(&mut seats), if is_full => {}
                client = accept(&listener), if !is_full => {
                    let waits = Arc::new(AtomicBool::new(false));
                    let task = clients.spawn(converse(client, answers.clone(), waits.clone()));
                    seats.retain(|seat: &Seat| !seat.task.is_finished());
                    seats.push_back(Seat { task, waits, since: Instant::now() });
                }
            }
        }
        drop((listener, self.file));
        let last = async { while clients.join_next().await.is_some() {} };
        // Clients that are not done by then are cut off when the set is dropped.
        let _ = timeout(LAST_ANSWERS, last).await;
        Ok(())
    }
}

/// A client in the queue, which has the oldest first.
struct Seat {
    task: AbortHandle,
    /// Whether the client has sent its request and waits for the answer.
    waits: Arc<AtomicBool>,
    since: Instant,
}

impl Seat {
    /// Returns whether the client owes its head, or has not taken its answer.
    fn is_owing(&self) -> bool {
        !self.waits.load(Relaxed) && !self.task.is_finished()
    }
}

/// Ends the oldest client that owes something, once it has had its [`GRACE`]. Waits for ever when
/// none does. Dropping the future loses nothing.
async fn give_way(seats: &mut VecDeque<Seat>) {
    let Some(oldest) = seats.iter().position(Seat::is_owing) else {
        return std::future::pending().await;
    };
    sleep_until(seats[oldest].since + GRACE).await;
    if seats[oldest].is_owing() {
        seats[oldest].task.abort();
        seats.remove(oldest);
        // The task ends at its next poll; until then its seat would seem to be taken, and cost
        // another client its own.
        tokio::task::yield_now().await;
    }
}

/// Waits for the next client. Errors never end the wait: an accept loop that ends is an outage.
async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            Err(error) => {
                tracing::debug!(%error, "cannot accept on the admin socket");
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn converse(client: UnixStream, answers: Answers, waits: Arc<AtomicBool>) {
    let answered = Notify::new();
    let service = service_fn(|request| async {
        waits.store(true, Relaxed);
        let response = answers.answer(request).await;
        waits.store(false, Relaxed);
        answered.notify_one();
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_SIZE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(client), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "admin client");
        },
        () = async { answered.notified().await; sleep(ANSWER_LIMIT).await } => {
            tracing::debug!("admin client did not take its answer");
        }
    }
}

impl Answers {
    /// Answers one request; its body, if any, is not read.
    async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        match (request.uri().path(), request.method()) {
            ("/status", &Method::GET) => json(StatusCode::OK, &(self.snapshot)()),
            ("/status", _) => wrong_method("GET"),
            ("/reload", &Method::POST) => self.reload().await,
            ("/reload", _) => wrong_method("POST"),
            _ => message(StatusCode::NOT_FOUND, "unknown path; use /status or /reload"),
        }
    }

    async fn reload(&self) -> Response<Full<Bytes>> {
        let (answer, record) = oneshot::channel();
        match self.reload.try_send(ReloadRequest { answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return too_many(),
            // The receiver goes away only with the daemon.
            Err(TrySendError::Closed(_)) => return stopping(),
        }
        match record.await {
            Ok(record) if record.is_refused() => json(StatusCode::CONFLICT, &record),
            Ok(record) => json(StatusCode::OK, &record),
            Err(_) => stopping(),
        }
    }
}

fn stopping() -> Response<Full<Bytes>> {
    message(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping")
}

fn too_many() -> Response<Full<Bytes>> {
    let text = format!("{MOST_RELOADS} reloads already wait for the one under way; try again");
    message(StatusCode::SERVICE_UNAVAILABLE, &text)
}

fn wrong_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = message(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allowed}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn message(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    json(status, &serde_json::json!({ "message": text }))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    // Plain data with string keys always serialises; clients would report an empty body as
    // unreadable.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
