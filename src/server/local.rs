//! Pages that the proxy serves itself.
//!
//! `/metrics` and `/v2/config/local/proxy` come from etcd's own proxy; `/proxy/health` and
//! `/proxy/status` are ours. All other paths belong to the members, `/health` and `/version`
//! included. Metrics and status are rendered by the control plane, so that a scrape costs a worker
//! no more than a waiting request.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use crate::message::reason::Reason;
use crate::message::reply;
use crate::proxy::worker::WorkerGeneration;
use crate::upstream::endpoint::Endpoint;

/// A page that the control plane renders.
#[derive(Debug)]
pub enum Page {
    /// `/metrics`, in the format that this `Accept` header prefers.
    Metrics(Option<HeaderValue>),
    /// `/proxy/status`.
    Status,
}

/// A request to render a page, with the channel for the answer.
#[derive(Debug)]
pub struct RenderRequest {
    /// The page to render.
    pub page: Page,
    /// The channel that takes the answer.
    pub answer: oneshot::Sender<Response<Bytes>>,
}

/// Sends render requests to the control plane; each worker has one.
#[derive(Debug, Clone)]
pub struct RenderHandle(pub mpsc::Sender<RenderRequest>);

impl RenderHandle {
    /// Has the control plane render a page. Returns 503 when it is stopping.
    pub async fn render(&self, page: Page) -> Response<Bytes> {
        let (answer, rendered) = oneshot::channel();
        let unavailable = || {
            let mut stopping =
                reply::text(StatusCode::SERVICE_UNAVAILABLE, "etcd-proxy: stopping\n");
            Reason::Stopping.set(stopping.headers_mut());
            stopping
        };
        if self.0.send(RenderRequest { page, answer }).await.is_err() {
            return unavailable();
        }
        rendered.await.unwrap_or_else(|_| unavailable())
    }
}

/// One of our own paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `/metrics`, by any method, as with etcd's proxy.
    Metrics,
    /// `/v2/config/local/proxy`.
    Endpoints,
    /// `/proxy/health`.
    Health,
    /// `/proxy/status`.
    Status,
}

impl Local {
    /// Returns the page at a path; `None` when the path belongs to a member.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            "/v2/config/local/proxy" => Some(Self::Endpoints),
            "/proxy/health" => Some(Self::Health),
            "/proxy/status" => Some(Self::Status),
            _ => None,
        }
    }

    /// Answers a request for this page.
    pub async fn answer<B>(
        self,
        request: &Request<B>,
        current: &WorkerGeneration,
        pages: &RenderHandle,
    ) -> Response<Bytes> {
        let endpoints = &current.generation.endpoints;
        match self {
            Self::Metrics => {
                pages.render(Page::Metrics(request.headers().get(ACCEPT).cloned())).await
            }
            _ if *request.method() != Method::GET => reply::method_not_allowed("GET"),
            Self::Endpoints => usable_endpoints(endpoints),
            Self::Health => health(endpoints),
            Self::Status => pages.render(Page::Status).await,
        }
    }
}

/// Has the members asked whether they live, for the next answer: nobody else may use the proxy.
pub fn request_checks(all: &[Arc<Endpoint>]) {
    all.iter().for_each(|endpoint| endpoint.activity.request_check());
}

/// Lists the endpoints that get traffic now, in the form of etcd's proxy.
pub fn usable_endpoints(all: &[Arc<Endpoint>]) -> Response<Bytes> {
    request_checks(all);
    let usable = all.iter().filter(|endpoint| endpoint.is_usable());
    let urls: Vec<&str> = usable.map(|endpoint| endpoint.url.as_str()).collect();
    reply::json(StatusCode::OK, serde_json::json!({ "endpoints": urls }).to_string())
}

/// Reports health: 200 if any of the endpoints gets traffic now, else 503.
pub fn health(all: &[Arc<Endpoint>]) -> Response<Bytes> {
    request_checks(all);
    if all.iter().any(|endpoint| endpoint.is_usable()) {
        reply::json(StatusCode::OK, "{\"health\":\"true\"}")
    } else {
        let reason = "{\"health\":\"false\",\"reason\":\"no healthy member\"}";
        reply::json(StatusCode::SERVICE_UNAVAILABLE, reason)
    }
}
