//! What is answered here and not by a member.
//!
//! `/metrics` and `/v2/config/local/proxy` are etcd's proxy's own; `/proxy/health` and `/proxy/status` are ours. All
//! else belongs to members, `/health` and `/version` included. Metrics and status are rendered by the control plane,
//! so that a scrape costs a worker no more than a request that waits.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use crate::message::reply;
use crate::proxy::worker::View;
use crate::upstream::endpoint::Endpoint;

/// A page that the control plane renders.
#[derive(Debug)]
pub enum Page {
    /// `/metrics`, in the form that this `Accept` header prefers.
    Metrics(Option<HeaderValue>),
    /// `/proxy/status`.
    Status,
}

/// A wish for a page, with the place for the answer.
#[derive(Debug)]
pub struct Wish {
    /// Which page.
    pub page: Page,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Response<Bytes>>,
}

/// The way to the control plane, for each worker.
#[derive(Debug, Clone)]
pub struct Pages(pub mpsc::Sender<Wish>);

impl Pages {
    /// Has a page rendered.
    pub async fn render(&self, page: Page) -> Response<Bytes> {
        let (answer, rendered) = oneshot::channel();
        let unavailable = || reply::text(StatusCode::SERVICE_UNAVAILABLE, "etcd-proxy: stopping\n");
        if self.0.send(Wish { page, answer }).await.is_err() {
            return unavailable();
        }
        rendered.await.unwrap_or_else(|_| unavailable())
    }
}

/// Answers a request for one of our own paths; `None` when it belongs to a member.
pub async fn answer<B>(
    request: &Request<B>,
    view: &View,
    pages: &Pages,
) -> Option<Response<Bytes>> {
    match request.uri().path() {
        "/metrics" => {
            Some(pages.render(Page::Metrics(request.headers().get(ACCEPT).cloned())).await)
        }
        "/v2/config/local/proxy" => {
            Some(only_get(request.method(), || endpoints(&view.generation.endpoints)))
        }
        "/proxy/health" => Some(only_get(request.method(), || health(&view.generation.endpoints))),
        "/proxy/status" if *request.method() == Method::GET => {
            Some(pages.render(Page::Status).await)
        }
        "/proxy/status" => Some(reply::method_not_allowed("GET")),
        _ => None,
    }
}

fn only_get(method: &Method, answer: impl FnOnce() -> Response<Bytes>) -> Response<Bytes> {
    if method == Method::GET { answer() } else { reply::method_not_allowed("GET") }
}

/// The endpoints that get traffic now, as etcd's proxy lists them.
pub fn endpoints(all: &[Arc<Endpoint>]) -> Response<Bytes> {
    let usable = all.iter().filter(|endpoint| endpoint.is_usable());
    let urls: Vec<&str> = usable.map(|endpoint| endpoint.url.as_str()).collect();
    reply::json(StatusCode::OK, serde_json::json!({ "endpoints": urls }).to_string())
}

/// Whether any of the endpoints gets traffic now.
pub fn health(all: &[Arc<Endpoint>]) -> Response<Bytes> {
    if all.iter().any(|endpoint| endpoint.is_usable()) {
        reply::json(StatusCode::OK, "{\"health\":\"true\"}")
    } else {
        let reason = "{\"health\":\"false\",\"reason\":\"no healthy member\"}";
        reply::json(StatusCode::SERVICE_UNAVAILABLE, reason)
    }
}
