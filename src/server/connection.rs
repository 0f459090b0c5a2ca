//! One client connection, from its first byte to its end.

mod builder;
mod drive;
mod shutdown;
mod unflushed;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use self::builder::{http1_builder, http2_builder};
use self::drive::{drive, is_expired_http1, is_expired_http2};
use self::shutdown::set_connection_close;
use super::authority::LenientAuthority;
use super::gate::Gate;
use super::gatehouse;
use super::handshake::{self, Speaks};
use super::io::{ClientIo, HungUp, Signs};
use super::local::Pages;
use super::preface::{Peek, Protocol, detect};
use super::strict_http1::StrictHttp1;
use crate::proxy::client::Client;
use crate::proxy::reply_body::ReplyBody;
use crate::telemetry::counters::ClientTlsError;

/// Serves a connection until it ends, by itself or because the gate closes.
pub async fn serve<S>(stream: S, client: Rc<Client>, gate: Rc<Gate>, pages: Pages)
where
    S: AsyncRead + AsyncWrite + Peek + HungUp + Unpin + Send + 'static,
{
    match timeout(gate.patience().first_head, detect(&stream)).await {
        Ok(Ok(Protocol::Tls)) => {
            client.worker.counters.client_tls_failed(ClientTlsError::TlsToPlain);
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
    let Some(acceptor) = client.worker.current().generation.acceptor.clone() else {
        // Settings with a URL for TLS and no certificate are refused, so this listener is about to
        // close.
        return;
    };
    let patience = gate.patience();
    let ends = (&*client.listener, client.address_text());
    let handshake = handshake::shake(stream, &acceptor, Speaks::Both, ends);
    let mut stream = match timeout(patience.handshake, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(None)) => return,
        Ok(Err(Some(error))) => return client.worker.counters.client_tls_failed(error),
        Err(_) => return client.worker.counters.client_tls_failed(ClientTlsError::Handshake),
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
            // Boxed, and freed once the response head is ready, so that long streams do not carry
            // it.
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
            drive(pin!(connection), signs, client, gate, is_expired_http1).await;
        }
        Protocol::Http2 => {
            let io = TokioIo::new(LenientAuthority::new(io, signs.clone()));
            // Boxed, since an HTTP/1 connection would carry room for it too.
            let mut connection = Box::pin(http2_builder().serve_connection(io, service));
            drive(connection.as_mut(), signs, client, gate, is_expired_http2).await;
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
        set_connection_close(&mut response);
    }
    response
}

#[cfg(test)]
mod tests;
