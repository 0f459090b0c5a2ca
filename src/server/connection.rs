//! One client connection, from its first byte to its end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::authority::LenientAuthority;
use super::gate::{Gate, LINGER};
use super::gatehouse;
use super::handshake::{self, Speaks};
use super::io::{ClientIo, HungUp, Signs};
use super::limits::{self, Patience};
use super::local::Pages;
use super::preface::{Peek, Protocol, detect};
use super::strict_http1::StrictHttp1;
use crate::proxy::client::Client;
use crate::proxy::reply_body::ReplyBody;
use crate::proxy::worker::Worker;
use crate::telemetry::tally::ClientTlsError;

/// Spawns the tasks of an HTTP/2 connection on the worker's own thread.
#[derive(Clone, Copy)]
struct OnThisThread;

impl<F: Future + 'static> Executor<F> for OnThisThread
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves a connection until it ends, by itself or because the gate closes.
pub async fn serve<S>(stream: S, client: Rc<Client>, gate: Rc<Gate>, pages: Pages)
where
    S: AsyncRead + AsyncWrite + Peek + HungUp + Unpin + Send + 'static,
{
    match timeout(gate.patience().first_head, detect(&stream)).await {
        Ok(Ok(Protocol::Tls)) => {
            client.worker.tally.client_tls_failed(ClientTlsError::TlsToPlain);
            handshake::warn_of_tls(&client.listener, client.address_text());
        }
        Ok(Ok(protocol)) => speak(protocol, stream, client, gate, pages).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Serves a connection whose client must speak TLS, until it ends.
pub async fn serve_tls<S>(stream: S, client: Rc<Client>, gate: Rc<Gate>, pages: Pages)
where
    S: AsyncRead + AsyncWrite + Peek + HungUp + Unpin + Send + 'static,
{
    let Some(acceptor) = client.worker.view().generation.acceptor.clone() else {
        // Settings with a URL for TLS and no certificate are refused, so this is a listener that is about to close.
        return;
    };
    let patience = gate.patience();
    let ends = (&*client.listener, client.address_text());
    let handshake = handshake::shake(stream, &acceptor, Speaks::Both, ends);
    let mut stream = match timeout(patience.handshake, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(None)) => return,
        Ok(Err(Some(error))) => return client.worker.tally.client_tls_failed(error),
        Err(_) => return client.worker.tally.client_tls_failed(ClientTlsError::Handshake),
    };
    drop(acceptor);
    if let Ok(Ok(protocol)) = timeout(patience.first_head, handshake::spoken(&mut stream)).await {
        speak(protocol, stream, client, gate, pages).await;
    }
}

async fn speak<S>(protocol: Protocol, stream: S, client: Rc<Client>, gate: Rc<Gate>, pages: Pages)
where
    S: AsyncRead + AsyncWrite + HungUp + Unpin + Send + 'static,
{
    let io = ClientIo::new(stream);
    let signs = io.signs();
    let is_http1 = protocol == Protocol::Http1;
    let context = Rc::new(Context { client, gate, pages, signs, is_http1 });
    let service = {
        let context = context.clone();
        service_fn(move |request: Request<Incoming>| {
            // In a box that is gone once there is a head: a watch, which goes on long after that, has no room for it.
            let mut answer = Box::pin(answer(context.clone(), Box::new(request)));
            std::future::poll_fn(move |cx| answer.as_mut().poll(cx).map(Ok::<_, Infallible>))
        })
    };
    let Context { client, gate, signs, .. } = &*context;
    match protocol {
        Protocol::Gone | Protocol::Tls => {}
        Protocol::Http1 => {
            let io = TokioIo::new(StrictHttp1::new(io, signs.clone()));
            let connection = http1_builder().serve_connection(io, service).with_upgrades();
            attend(pin!(connection), signs, client, gate, is_outworn_http1).await;
        }
        Protocol::Http2 => {
            let io = TokioIo::new(LenientAuthority::new(io, signs.clone()));
            // Boxed, since an HTTP/1 connection would carry room for it too.
            let mut connection = Box::pin(http2_builder().serve_connection(io, service));
            attend(connection.as_mut(), signs, client, gate, is_outworn_http2).await;
        }
    }
}

/// What the requests of a connection are answered with.
struct Context {
    client: Rc<Client>,
    gate: Rc<Gate>,
    pages: Pages,
    signs: Arc<Signs>,
    is_http1: bool,
}

async fn answer(context: Rc<Context>, request: Box<Request<Incoming>>) -> Response<ReplyBody> {
    let mut response = gatehouse::answer(&context.client, &context.pages, request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        context.signs.switch();
    }
    if context.is_http1 && context.gate.is_closing() {
        say_goodbye(&mut response);
    }
    response
}

/// Tells an HTTP/1 client that no answer will follow this one. hyper does so only if it knew before.
fn say_goodbye(response: &mut Response<ReplyBody>) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Of headers hyper takes 100 (Go counts their bytes only). Setting a number of ours costs two allocations a request.
    builder
        // Ours: one timer for a connection's life, and not one for each request.
        .header_read_timeout(None)
        .max_buf_size(limits::HTTP1_HEAD);
    builder
}

fn http2_builder() -> http2::Builder<OnThisThread> {
    let mut builder = http2::Builder::new(OnThisThread);
    builder
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_concurrent_streams(limits::STREAMS)
        .max_header_list_size(limits::HEADER_LIST)
        .max_send_buf_size(limits::SEND_BUFFER)
        .max_pending_accept_reset_streams(limits::PENDING_RESETS)
        .max_local_error_reset_streams(limits::LOCAL_RESETS)
        .auto_date_header(false);
    builder
}

/// A connection that can be told to finish.
trait Finish: Future<Output = Result<(), hyper::Error>> {
    /// Whether its client learns of the end only by an answer (`Connection: close`): told to finish while it is idle, it
    /// would close just when the next request is on its way.
    const LINGERS: bool;

    /// Finishes what is open and takes nothing new.
    fn finish(self: Pin<&mut Self>);
}

impl<S, B, I> Finish for http1::UpgradeableConnection<I, S>
where
    Self: Future<Output = Result<(), hyper::Error>>,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const LINGERS: bool = true;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, B, I> Finish for http2::Connection<I, S, OnThisThread>
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
    const LINGERS: bool = false;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Drives a connection to its end. It is told to finish when the gate closes or when it has outlived its use; an idle one that
/// [lingers](Finish::LINGERS) with its next request, or after [`LINGER`].
async fn attend<C: Finish>(
    mut connection: Pin<&mut C>,
    signs: &Signs,
    client: &Client,
    gate: &Gate,
    is_outworn: fn(&Client, Patience, Instant) -> bool,
) {
    let mut closing = pin!(gate.closing().notified());
    let mut shed = gate.to_shed().0;
    let patience = gate.patience();
    let mut patrol = pin!(sleep(patience.patrol));
    let mut registered = false;
    let mut finishing = false;
    let mut lingering = false;
    let mut tail = Tail::none(&client.worker);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                if let Some(why) = signs.malformed() {
                    gatehouse::note_malformed(client, &why);
                } else if let Some(complaint) = ended.err().and_then(malformed) {
                    gatehouse::note_malformed(client, &complaint);
                }
                return Poll::Ready(());
            }
            tail.set(signs.has_unwritten() && client.idle_since().is_some());
            if !std::mem::replace(&mut registered, true) {
                let _ = closing.as_mut().poll(cx);
                let _ = patrol.as_mut().poll(cx);
            }
            let (round, idle_for) = gate.to_shed();
            if std::mem::replace(&mut shed, round) != round {
                closing.set(gate.closing().notified());
                let _ = closing.as_mut().poll(cx);
                let idle = client.idle_since().filter(|_| !tail.0);
                if !finishing && idle.is_some_and(|since| since.elapsed() >= idle_for) {
                    client.worker.tally.connection_shed();
                    if C::LINGERS {
                        return Poll::Ready(());
                    }
                    finishing = true;
                    connection.as_mut().finish();
                    continue;
                }
            }
            let patrolled = patrol.is_elapsed();
            let mut next_patrol = patience.patrol;
            if patrolled && let Some(since) = owes_since(client, signs, C::LINGERS) {
                let owed_for = Instant::now().saturating_duration_since(since);
                if owed_for >= patience.owed {
                    return Poll::Ready(());
                }
                next_patrol = next_patrol.min(patience.owed - owed_for);
            }
            let outworn = patrolled && is_outworn(client, patience, Instant::now());
            if outworn && !client.has_asked() {
                return Poll::Ready(());
            }
            let is_overdue = || is_outworn_http1(client, patience, Instant::now());
            if patrolled && finishing && client.idle_since().is_some() && (!tail.0 || is_overdue())
            {
                // It was asked to finish a patrol ago and has nothing to finish: half a head, or a deaf client.
                return Poll::Ready(());
            }
            let finish = !finishing && (outworn || gate.is_closing());
            let is_idle = client.idle_since().is_some() && !tail.0;
            if finish && C::LINGERS && !outworn && is_idle && !(lingering && patrolled) {
                if !std::mem::replace(&mut lingering, true) {
                    patrol.as_mut().reset(tokio::time::Instant::now() + LINGER);
                    let _ = patrol.as_mut().poll(cx);
                }
                return Poll::Pending;
            }
            if patrolled {
                client.sweep(Instant::now());
            }
            if patrolled || finish {
                patrol.as_mut().reset(tokio::time::Instant::now() + next_patrol);
                let _ = patrol.as_mut().poll(cx);
            }
            if finish {
                finishing = true;
                connection.as_mut().finish();
            } else if patrolled && client.idle_since().is_none() {
                signs.look();
            } else {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Since when the client owes what it has begun and waits for nothing itself: the body of every request that is open, a
/// frame, or a head. The next head of an HTTP/1 client counts when the answer before it has ended. While something is
/// unwritten we may not have read what has come.
fn owes_since(client: &Client, signs: &Signs, is_http1: bool) -> Option<Instant> {
    if signs.has_unwritten() {
        return None;
    }
    let begun = match is_http1 {
        true => client.idle_since().and_then(|idle| Some(signs.owes_since()?.max(idle))),
        false => signs.owes_since(),
    };
    client.owes_since().into_iter().chain(begun).min()
}

/// What a client did wrong in its protocol, if that is what ended its connection: never its bytes.
fn malformed(error: hyper::Error) -> Option<String> {
    if error.is_parse() {
        return Some(error.to_string());
    }
    let h2 = std::error::Error::source(&error)?.downcast_ref::<h2::Error>()?;
    let reason = h2.reason().filter(|_| h2.is_library() && h2.is_go_away())?;
    Some(format!("HTTP/2: {}", reason.description()))
}

/// The end of an answer that its client has not taken yet. All of the answer has been given to the protocol, so it counts
/// as complete; but it is in flight for as long as it is ours to write.
struct Tail<'a>(bool, &'a Worker);

impl<'a> Tail<'a> {
    fn none(worker: &'a Worker) -> Self {
        Self(false, worker)
    }

    fn set(&mut self, is_there: bool) {
        if self.0 == is_there {
            return;
        }
        self.0 = is_there;
        if is_there { self.1.begin_short() } else { self.1.end_short() }
    }
}

impl Drop for Tail<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

fn is_outworn_http1(client: &Client, patience: Patience, now: Instant) -> bool {
    let limit = if client.has_asked() { patience.idle } else { patience.first_head };
    client.idle_since().is_some_and(|since| now.saturating_duration_since(since) >= limit)
}

/// gRPC clients keep connections without calls for as long as they live.
fn is_outworn_http2(client: &Client, patience: Patience, now: Instant) -> bool {
    !client.has_asked()
        && client
            .idle_since()
            .is_some_and(|since| now.saturating_duration_since(since) >= patience.idle)
}

#[cfg(test)]
mod tests;
