//! Everything that the control plane renders for HTTP: the pages of client listeners, and the
//! metrics listeners as a whole.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::status_source::StatusSource;
use crate::config::ListenScheme;
use crate::message::reply;
use crate::message::rpc::Rpc;
use crate::net::listen::ListenSocket;
use crate::server::handshake::{OfferedProtocols, accept_tls, warn_of_tls};
use crate::server::limits;
use crate::server::listener::{tcp_label, unix_label};
use crate::server::local::{self, Page, RenderRequest};
use crate::server::preface::{Peek, Protocol, detect, scheme_of};
use crate::telemetry::metrics::{self, Format};
use crate::telemetry::profile;
use crate::tls::Acceptor;

/// Most connections to a metrics listener at a time: a few scrapers and a person.
const CONNECTIONS: usize = 64;

/// How long a connection to a metrics listener may last: longer than the longest profile.
const LONGEST_VISIT: Duration = Duration::from_secs(profile::MAX_SECONDS + 60);

/// Renders pages from the status source.
#[derive(Debug, Clone)]
pub struct Renderer {
    status_source: Arc<StatusSource>,
    rpcs: Arc<[&'static str]>,
    profiles: Arc<AtomicBool>,
    acceptor: Arc<ArcSwapOption<Acceptor>>,
}

impl Renderer {
    /// Makes a renderer over `status_source`.
    pub fn new(status_source: Arc<StatusSource>) -> Self {
        Self {
            status_source,
            rpcs: Rpc::ALL.iter().map(|rpc| rpc.name()).collect(),
            profiles: Arc::default(),
            acceptor: Arc::default(),
        }
    }

    /// Sets whether profiles may be taken (`enable-pprof`).
    pub fn set_profiles(&self, enabled: bool) {
        self.profiles.store(enabled, Relaxed);
    }

    /// Sets the TLS config of metrics listeners; `None` when no certificate is set.
    pub fn set_acceptor(&self, acceptor: Option<Acceptor>) {
        self.acceptor.store(acceptor.map(Arc::new));
    }

    /// Answers the workers' requests until no worker is left.
    pub async fn serve(self, mut requests: mpsc::Receiver<RenderRequest>) {
        while let Some(RenderRequest { page, answer }) = requests.recv().await {
            let rendered = match page {
                Page::Metrics(accept) => {
                    self.metrics(&accept.into_iter().map(|value| (ACCEPT, value)).collect())
                }
                Page::Status => self.status(),
            };
            // The client may have left.
            let _ = answer.send(rendered);
        }
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Bytes> {
        let format = Format::accepted_by(headers);
        let page = metrics::render(
            &self.status_source.snapshot(),
            self.status_source.counters(),
            &self.rpcs,
            format,
        );
        reply::typed(StatusCode::OK, HeaderValue::from_static(format.content_type()), page)
    }

    fn status(&self) -> Response<Bytes> {
        match serde_json::to_vec(&self.status_source.snapshot()) {
            Ok(json) => reply::json(StatusCode::OK, json),
            Err(error) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    /// Reports whether the daemon is ready: settings in force, listeners open, and at least one
    /// healthy member. A single unhealthy member does not make it flap.
    fn readyz(&self) -> Response<Bytes> {
        local::request_checks(&self.status_source.endpoints());
        let snapshot = self.status_source.snapshot();
        let healthy = snapshot
            .members
            .iter()
            .flat_map(|member| &member.endpoints)
            .any(|endpoint| endpoint.healthy);
        if snapshot.ready && !snapshot.draining && healthy {
            return reply::text(StatusCode::OK, "ok\n");
        }
        let mut reasons: Vec<_> =
            snapshot.problems.iter().map(|problem| problem.text.as_str()).collect();
        reasons.extend(snapshot.draining.then_some("stopping"));
        reasons.extend((!snapshot.ready).then_some("no member list yet"));
        reply::text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }

    async fn page(&self, request: &Request<Incoming>) -> Response<Bytes> {
        if *request.method() != Method::GET {
            return reply::method_not_allowed("GET");
        }
        match request.uri().path() {
            "/metrics" => self.metrics(request.headers()),
            "/proxy/status" => self.status(),
            "/livez" => reply::text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(),
            "/proxy/health" => local::health(&self.status_source.endpoints()),
            "/v2/config/local/proxy" => local::usable_endpoints(&self.status_source.endpoints()),
            "/debug/pprof/profile" if self.profiles.load(Relaxed) => {
                profile_page(request.uri().query()).await
            }
            "/debug/pprof/profile" => {
                reply::text(StatusCode::NOT_FOUND, "set enable-pprof to take profiles\n")
            }
            _ => {
                reply::text(StatusCode::NOT_FOUND, "see /metrics, /livez, /readyz, /proxy/status\n")
            }
        }
    }
}

async fn profile_page(query: Option<&str>) -> Response<Bytes> {
    let taken = match profile::seconds_asked(query) {
        Ok(seconds) => profile::cpu_profile(seconds, profile::DEFAULT_HZ).await,
        Err(error) => Err(error),
    };
    match taken {
        Ok(profile) => reply::typed(
            StatusCode::OK,
            HeaderValue::from_static("application/octet-stream"),
            profile,
        ),
        Err(error) => reply::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// Serves a metrics listener for ever, on the control plane's thread. A connection uses the
/// `scheme` of the moment when it is accepted. Cancel by dropping.
pub async fn serve_metrics(
    socket: ListenSocket,
    renderer: Renderer,
    scheme: Rc<Cell<ListenScheme>>,
) {
    let opened = match socket {
        ListenSocket::Tcp(socket) => TcpListener::from_std(socket).map(Listener::Tcp),
        ListenSocket::Unix(socket) => UnixListener::from_std(socket).map(Listener::Unix),
    };
    let listener = match opened {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot accept on a metrics listener"),
    };
    let label = match &listener {
        Listener::Tcp(listener) => tcp_label(listener),
        Listener::Unix(listener) => unix_label(listener),
    };
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let seat = seats.clone().acquire_owned().await;
        let accepted = match &listener {
            Listener::Tcp(listener) => {
                listener.accept().await.map(|(stream, from)| Stream::Tcp(stream, from.ip()))
            }
            Listener::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| Stream::Unix(stream))
            }
        };
        match accepted {
            Ok(stream) => {
                let renderer = renderer.clone();
                let label = label.clone();
                let scheme = scheme.get();
                tokio::task::spawn_local(async move {
                    // Neither a slow scraper nor one that never reads may keep its permit.
                    let visit = async {
                        match stream {
                            Stream::Tcp(stream, from) => {
                                let from = from.to_canonical().to_string();
                                receive(stream, scheme, renderer, (&label, &from)).await;
                            }
                            Stream::Unix(stream) => {
                                receive(stream, scheme, renderer, (&label, "unix socket")).await;
                            }
                        }
                    };
                    let _ = timeout(LONGEST_VISIT, visit).await;
                    drop(seat);
                });
            }
            Err(_) => tokio::time::sleep(limits::ACCEPT_PAUSE).await,
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(tokio::net::TcpStream, IpAddr),
    Unix(tokio::net::UnixStream),
}

/// Serves one connection with this scheme.
async fn receive<S>(
    stream: S,
    scheme: ListenScheme,
    renderer: Renderer,
    (label, from): (&str, &str),
) where
    S: AsyncRead + AsyncWrite + Peek + Unpin,
{
    let scheme = match scheme {
        ListenScheme::Both => match timeout(limits::FIRST_HEAD, scheme_of(&stream)).await {
            Ok(Ok(Some(scheme))) => scheme,
            _ => return,
        },
        one => one,
    };
    if scheme == ListenScheme::Tls {
        // Never missing: settings with an https URL and no certificate are refused.
        let Some(acceptor) = renderer.acceptor.load_full() else { return };
        let accepting = accept_tls(stream, &acceptor, OfferedProtocols::Http1, (label, from));
        if let Ok(Ok(stream)) = timeout(limits::HANDSHAKE, accepting).await {
            visit(stream, renderer).await;
        }
        return;
    }
    match timeout(limits::FIRST_HEAD, detect(&stream)).await {
        Ok(Ok(Protocol::Tls)) => warn_of_tls(label, from),
        Ok(Ok(Protocol::Http1 | Protocol::Http2)) => visit(stream, renderer).await,
        _ => {}
    }
}

async fn visit<S: AsyncRead + AsyncWrite + Unpin>(stream: S, renderer: Renderer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let renderer = renderer.clone();
        async move { Ok::<_, Infallible>(renderer.page(&request).await.map(Full::new)) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits::FIRST_HEAD);
    // A scraper that breaks off is not worth a log line.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
