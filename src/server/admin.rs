//! The admin socket: where `etcd-proxy status` and `etcd-proxy reload` ask.
//!
//! HTTP/1.1 on a unix socket of mode 0660, one request a connection. `GET /status` answers the
//! [`Snapshot`], `POST /reload` has the daemon reload and answers the [`ReloadRecord`] when it is
//! over: 200 when it was applied or found nothing new, 409 when it was refused. Errors are
//! `{"message": ...}`.
//!
//! It runs on the control plane beside everything else, so no client may hold it up: the head must
//! come within 5 s, the answer must be taken within 10 s, and there are at most 64 clients at a
//! time. When more come, the oldest one that owes its head, or has not taken its answer, has to go.
//! At most half of them wait for a reload: all requests that wait when one begins are answered by
//! it, and those beyond [`MOST_RELOADS`] are refused with 503, so that `status` always finds room.
//! State is changed here and on no TCP port, where a web page could reach it.

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

/// How long a client may take to send its request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// How long a client may take to read its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long open requests may go on after the stop.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Clients at a time; more wait in the kernel's queue.
const MOST: usize = 64;
/// Requests that may wait for the reload after the one under way. As many may be answered by that
/// one.
pub const MOST_RELOADS: usize = MOST / 4;
/// How long a client has for its head and its answer at least, however many there are.
const GRACE: Duration = Duration::from_millis(100);
/// Largest head that is read, in bytes.
const HEAD_SIZE: usize = 16 * 1024;
/// The rest after an accept that failed for want of something (descriptors, memory).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The admin socket, bound and not served yet. Dropping it removes the file.
#[derive(Debug)]
pub struct AdminSocket {
    listener: std::os::unix::net::UnixListener,
    file: SocketFile,
}

/// Asks the daemon for a reload; dropping `answer` tells the client that the daemon is stopping.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Takes what became of it.
    pub answer: oneshot::Sender<ReloadRecord>,
}

/// Where the answers come from.
#[derive(Clone)]
pub struct Answers {
    /// Makes a snapshot of this moment; must not block.
    pub snapshot: Arc<dyn Fn() -> Snapshot + Send + Sync>,
    /// Takes requests for a reload, [`MOST_RELOADS`] of them; more are refused.
    pub reload: mpsc::Sender<ReloadRequest>,
}

impl AdminSocket {
    /// Binds the socket with mode 0660, and makes its directory (0755) when it is missing.
    ///
    /// # Errors
    /// When either cannot be had, as is usual at the default path without root: worth a warning,
    /// not an end.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        let (listener, file) = socket_file::listen(path, Some(0o660))?;
        Ok(Self { listener, file })
    }

    /// Serves until `stop` is ready, then removes the file and gives open requests two seconds.
    /// Dropping the future ends all of it at once.
    ///
    /// # Errors
    /// Only at the start, when the runtime cannot take the socket.
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
        // Who is not done by then is cut off when the set is dropped.
        let _ = timeout(LAST_ANSWERS, last).await;
        Ok(())
    }
}

/// A client, the oldest first in their queue.
struct Seat {
    task: AbortHandle,
    /// Whether it waits for an answer of ours.
    waits: Arc<AtomicBool>,
    since: Instant,
}

impl Seat {
    /// Whether the client owes its head, or has not taken its answer.
    fn is_owing(&self) -> bool {
        !self.waits.load(Relaxed) && !self.task.is_finished()
    }
}

/// Ends the oldest client that owes something, but for those that have only just come. Waits for
/// ever when none does. Dropping the future loses nothing.
async fn give_way(seats: &mut VecDeque<Seat>) {
    let Some(oldest) = seats.iter().position(Seat::is_owing) else {
        return std::future::pending().await;
    };
    sleep_until(seats[oldest].since + GRACE).await;
    if seats[oldest].is_owing() {
        seats[oldest].task.abort();
        seats.remove(oldest);
        // It ends in its next turn; until then the place would seem to be taken, and cost another
        // client its own.
        tokio::task::yield_now().await;
    }
}

/// Waits for the next client. Errors never end it: one that ends an accept loop is an outage.
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
            _ => message(StatusCode::NOT_FOUND, "there are /status and /reload"),
        }
    }

    async fn reload(&self) -> Response<Full<Bytes>> {
        let (answer, record) = oneshot::channel();
        match self.reload.try_send(ReloadRequest { answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return too_many(),
            // The other end goes away only with the daemon.
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
    let text = format!("{MOST_RELOADS} reloads wait for the one under way already; try again");
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
    // Plain data with string keys always serialises; an empty body would be seen as unreadable.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
