//! WebSocket on the JSON gateway: sends the handshake to a member, and after its 101 copies bytes
//! both ways unchanged.
//!
//! Nothing that the client sends after its handshake reaches the member before the member has
//! agreed to switch, so a request cannot be smuggled behind a refused handshake.

use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::attempt::{Failed, find_out};
use super::client::Client;
use super::failure::Failure;
use super::hung::Carrier;
use super::meter::Meter;
use super::waiting;
use crate::message::headers;
use crate::message::rpc::RpcKind;
use crate::upstream::protocols::Api;
use crate::upstream::worker_endpoint::{InFlight, WorkerEndpoint};

/// The only protocol that a connection may switch to.
const WEBSOCKET: &str = "websocket";

/// Limit in bytes for the body of an answer other than 101; members send a line of text.
const MAX_REFUSAL: usize = 64 * 1024;

/// A WebSocket handshake, ready to be sent to a member.
pub struct Handshake {
    request: Request<()>,
    client_side: OnUpgrade,
}

impl Handshake {
    /// Builds the handshake for members from a client's; a body is dropped.
    pub fn new(client: &Client, mut request: Box<Request<Incoming>>) -> Self {
        let client_side = hyper::upgrade::on(&mut *request);
        let mut passed = Request::new(());
        *passed.method_mut() = Method::GET;
        if let Some(target) = request.uri().path_and_query() {
            *passed.uri_mut() = target.clone().into();
        }
        let mut kept = std::mem::take(request.headers_mut());
        headers::remove_hop_by_hop(&mut kept);
        kept.remove(http::header::CONTENT_LENGTH);
        kept.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        // Only `websocket` is passed on of the protocols that the client offers (RFC 9110 section
        // 7.8: a list). A member that was also offered `h2c` could choose that, and the requests
        // that follow would bypass every check here.
        kept.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        client.forwarding_headers().append_to(&mut kept);
        *passed.headers_mut() = kept;
        Self { request: passed, client_side }
    }

    /// Sends the handshake to `upstream`'s member and waits for its answer.
    ///
    /// # Errors
    /// [`Failed`]; the handshake may be tried on another member while nothing was done.
    pub async fn attempt(
        &mut self,
        client: &Rc<Client>,
        upstream: &Rc<WorkerEndpoint>,
    ) -> Result<Response<Bytes>, Failed> {
        if upstream.endpoint.protocols.speaks(Api::Http) != Some(true) {
            Box::pin(find_out(upstream)).await?;
        }
        let io =
            Box::pin(upstream.dial_http1()).await.map_err(|error| Failed::unreachable(&error))?;
        let io_state = io.state();
        let lost = |error: hyper::Error| match io_state.refusal() {
            Some(why) => Failed::because(Failure::Unreachable, upstream.connect_error(why)),
            None => Failed::because(Failure::Lost, error),
        };
        let (mut sender, driver) = http1::handshake(TokioIo::new(io)).await.map_err(lost)?;
        tokio::task::spawn_local(driver.with_upgrades());
        let mut request = self.request.clone().map(|()| Empty::<Bytes>::new());
        request.headers_mut().insert(HOST, upstream.endpoint.host_header.clone());
        let answer = pin!(exchange(&mut sender, request));
        let (kind, carrier) = (RpcKind::Stream, Carrier::default());
        waiting::await_or_abort(answer, &client.worker, upstream, kind, &carrier)
            .await
            .map_err(Failed::blameless)?
            .map_err(lost)
            .and_then(|response| match response.status() {
                StatusCode::SWITCHING_PROTOCOLS if !switches_to_websocket(&response) => {
                    let why = "it switches protocols, and not to websocket as it was asked";
                    Err(Failed::because(Failure::Lost, why))
                }
                _ => Ok(response),
            })
    }

    /// Relays between the client and the member whose 101 is `response`, in a task that ends when
    /// either side leaves or the proxy must stop.
    pub fn join(
        self,
        client: &Rc<Client>,
        upstream: &Rc<WorkerEndpoint>,
        response: &mut Response<Bytes>,
        (meter, in_flight): (Meter, InFlight),
    ) {
        let member_side = hyper::upgrade::on(response);
        let (client, upstream) = (client.clone(), upstream.clone());
        tokio::task::spawn_local(async move {
            let (_meter, _in_flight) = (meter, in_flight);
            let joined = async {
                if let (Ok(client), Ok(member)) = (self.client_side.await, member_side.await) {
                    relay(client, member).await;
                }
            };
            let (kind, carrier) = (RpcKind::Stream, Carrier::default());
            let _ =
                waiting::await_or_abort(pin!(joined), &client.worker, &upstream, kind, &carrier)
                    .await;
        });
    }
}

fn switches_to_websocket(response: &Response<Bytes>) -> bool {
    let mut values = response.headers().get_all(UPGRADE).iter();
    let first = values.next().is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
    first && values.next().is_none()
}

async fn exchange(
    sender: &mut http1::SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Bytes>, hyper::Error> {
    let response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(|_| Bytes::new()));
    }
    let (mut head, body) = response.into_parts();
    headers::remove_hop_by_hop(&mut head.headers);
    let body = http_body_util::Limited::new(body, MAX_REFUSAL).collect().await;
    Ok(Response::from_parts(head, body.map(|body| body.to_bytes()).unwrap_or_default()))
}

async fn relay(client: Upgraded, member: Upgraded) {
    let (mut client, mut member) = (TokioIo::new(client), TokioIo::new(member));
    if let Err(error) = copy_bidirectional(&mut client, &mut member).await {
        tracing::debug!(%error, "websocket ended");
    }
}
