//! Answers each request: refuses malformed ones, serves local pages, and forwards the rest.

use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::local::{self, RenderHandle};
use super::{cors, page_hosts, well_formed};
use crate::message::discard::discard_rest;
use crate::message::reason::Reason;
use crate::message::reply;
use crate::proxy::client::Client;
use crate::proxy::forward::forward;
use crate::proxy::reply_body::ReplyBody;
use crate::proxy::worker::WorkerGeneration;

/// Answers one request.
pub async fn call(
    client: &Rc<Client>,
    pages: &RenderHandle,
    request: Box<Request<Incoming>>,
) -> Response<ReplyBody> {
    let is_head = *request.method() == Method::HEAD;
    let response = route(client, pages, request).await;
    if is_head { response.map(ReplyBody::for_head) } else { response }
}

async fn route(
    client: &Rc<Client>,
    pages: &RenderHandle,
    request: Box<Request<Incoming>>,
) -> Response<ReplyBody> {
    let current = client.worker.current();
    // What few requests need is boxed, and no answer is held across an await.
    if let Some(refusal) = refuse(client, &current, &request) {
        return respond_locally(client, refusal, request).await;
    }
    let generation = &current.generation;
    let cors = cors::evaluate(generation.cors.as_deref(), request.headers());
    let mut response = if cors.answers(request.method()) {
        respond_locally(client, reply::bare(StatusCode::OK), request).await
    } else {
        match local::Local::of_path(request.uri().path()) {
            Some(local) => Box::pin(page(client, pages, &current, local, request)).await,
            None => forward(client, &current, request).await,
        }
    };
    cors.apply(response.headers_mut());
    response
}

/// Refuses a malformed request, or one for a host that is not this proxy.
fn refuse(
    client: &Client,
    current: &WorkerGeneration,
    request: &Request<Incoming>,
) -> Option<Response<Bytes>> {
    if let Some(complaint) = well_formed::complaint(request) {
        note_malformed(client, &complaint);
        return Some(bad_request(request.version(), complaint));
    }
    // As with etcd, the list is for plaintext: with TLS, the certificate vouches for the name.
    let whitelist = current.generation.host_whitelist.as_deref();
    if client.has_tls() { None } else { cors::refuse_host(whitelist, request) }
}

/// Answers a request for one of our own pages.
async fn page(
    client: &Client,
    pages: &RenderHandle,
    current: &WorkerGeneration,
    local: local::Local,
    request: Box<Request<Incoming>>,
) -> Response<ReplyBody> {
    let generation = &current.generation;
    let refusal = (!client.has_tls() && generation.host_whitelist.is_none())
        .then(|| page_hosts::refuse(&generation.page_hosts, &request))
        .flatten();
    let answer = match refusal {
        Some(refusal) => refusal,
        None => {
            let _asking = client.asking();
            local.answer(&request, current, pages).await
        }
    };
    respond_locally(client, answer, request).await
}

/// Sends an answer of our own once the rest of the request was read. It counts as a request: its
/// client has asked, like any other.
fn respond_locally(
    client: &Client,
    response: Response<Bytes>,
    request: Box<Request<Incoming>>,
) -> Pin<Box<impl Future<Output = Response<ReplyBody>>>> {
    Box::pin(async move {
        let _asking = client.asking();
        discard_rest(request).await;
        response.map(|bytes| ReplyBody::whole(bytes, None))
    })
}

/// Counts and logs a malformed request: what is wrong with it, never its bytes.
pub fn note_malformed(client: &Client, complaint: &dyn std::fmt::Display) {
    client.worker.counters.malformed_refused();
    tracing::info!(
        listener = %client.listener, client = client.address_text(),
        "refused a malformed request: {complaint}"
    );
}

/// Builds the 400 for a malformed request. The bytes after it cannot be trusted to be a request, so
/// over HTTP/1 the connection ends.
fn bad_request(version: Version, complaint: &'static str) -> Response<Bytes> {
    let mut response = reply::text(StatusCode::BAD_REQUEST, complaint);
    Reason::Malformed.set(response.headers_mut());
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// Every request holds this future until the head of its answer is ready.
    #[test]
    fn the_future_of_an_answer_stays_small() {
        let size =
            size_of_future(|client: &'static Rc<Client>, pages: &'static RenderHandle, request| {
                call(client, pages, request)
            });
        assert!(size <= 1744, "{size} bytes");
    }
}
