//! Serves one client connection, from its first byte to its end.

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
use super::drain::DrainSignal;
use super::handshake::{self, OfferedProtocols};
use super::io::{ClientIo, ClientIoState, HungUp};
use super::local::RenderHandle;
use super::preface::{Peek, Protocol, detect};
use super::service;
use super::strict_http1::StrictHttp1;
use crate::proxy::client::Client;
use crate::proxy::reply_body::ReplyBody;
use crate::telemetry::counters::ClientTlsError;

/// Serves a connection until it ends, by itself or because its listener drains.
pub async fn serve<S>(stream: S, client: Rc<Client>, drain: Rc<DrainSignal>, pages: RenderHandle)
where
    S: AsyncRead + AsyncWrite + Peek + HungUp + Unpin + Send + 'static,
{
    match timeout(drain.timeouts().first_head, detect(&stream)).await {
        Ok(Ok(Protocol::Tls)) => {
            client.worker.counters.client_tls_failed(ClientTlsError::TlsToPlain);
            handshake::warn_of_tls(&client.listener, client.address_text());
        }
        Ok(Ok(protocol)) => speak(protocol, stream, client, drain, pages).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Serves a connection whose client must speak TLS, until it ends, by itself or because its
/// listener drains.
pub async fn serve_tls<S>(
    stream: S,
    client: Rc<Client>,
    drain: Rc<DrainSignal>,
    pages: RenderHandle,
) where
    S: AsyncRead + AsyncWrite + Peek + HungUp + Unpin + Send + 'static,
{
    let Some(acceptor) = client.worker.current().generation.acceptor.clone() else {
        // Settings with an https URL and no certificate are refused, so this listener is about to
        // close.
        return;
    };
    let timeouts = drain.timeouts();
    let ends = (&*client.listener, client.address_text());
    let handshake = handshake::accept_tls(stream, &acceptor, OfferedProtocols::Both, ends);
    let mut stream = match timeout(timeouts.handshake, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(None)) => return,
        Ok(Err(Some(error))) => return client.worker.counters.client_tls_failed(error),
        Err(_) => return client.worker.counters.client_tls_failed(ClientTlsError::Handshake),
    };
    drop(acceptor);
    if let Ok(Ok(protocol)) =
        timeout(timeouts.first_head, handshake::negotiated_protocol(&mut stream)).await
    {
        speak(protocol, stream, client, drain, pages).await;
    }
}

async fn speak<S>(
    protocol: Protocol,
    stream: S,
    client: Rc<Client>,
    drain: Rc<DrainSignal>,
    pages: RenderHandle,
) where
    S: AsyncRead + AsyncWrite + HungUp + Unpin + Send + 'static,
{
    let io = ClientIo::new(stream);
    let io_state = io.state();
    let is_http1 = protocol == Protocol::Http1;
    let context = Rc::new(Context { client, drain, pages, io_state, is_http1 });
    let service = {
        let context = context.clone();
        service_fn(move |request: Request<Incoming>| {
            // Boxed, and freed once the response head is ready, so that long streams do not carry
            // it.
            let mut answer = Box::pin(answer(context.clone(), Box::new(request)));
            std::future::poll_fn(move |cx| answer.as_mut().poll(cx).map(Ok::<_, Infallible>))
        })
    };
    let Context { client, drain, io_state, .. } = &*context;
    match protocol {
        Protocol::Gone | Protocol::Tls => {}
        Protocol::Http1 => {
            let io = TokioIo::new(StrictHttp1::new(io, io_state.clone()));
            let connection = http1_builder().serve_connection(io, service).with_upgrades();
            drive(pin!(connection), io_state, client, drain, is_expired_http1).await;
        }
        Protocol::Http2 => {
            let io = TokioIo::new(LenientAuthority::new(io, io_state.clone()));
            // Boxed, so that HTTP/1 connections do not reserve room for it.
            let mut connection = Box::pin(http2_builder().serve_connection(io, service));
            drive(connection.as_mut(), io_state, client, drain, is_expired_http2).await;
        }
    }
}

/// What the requests of a connection share.
struct Context {
    client: Rc<Client>,
    drain: Rc<DrainSignal>,
    pages: RenderHandle,
    io_state: Arc<ClientIoState>,
    is_http1: bool,
}

async fn answer(context: Rc<Context>, request: Box<Request<Incoming>>) -> Response<ReplyBody> {
    let mut response = service::call(&context.client, &context.pages, request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        context.io_state.switch();
    }
    if context.is_http1 && context.drain.is_draining() {
        set_connection_close(&mut response);
    }
    response
}

#[cfg(test)]
mod tests;
