//! Accepts the TLS handshake of a client, and gives a readable answer to one that speaks plain HTTP
//! to a TLS port.
//!
//! The first byte is peeked at before anything is read. A handshake always begins with the same
//! byte; any other comes from a client that was given the wrong scheme.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;

use super::preface::{Peek, Protocol, TLS_HANDSHAKE};
use crate::net::coalesce::CoalescingWriter;
use crate::telemetry::counters::ClientTlsError;
use crate::tls::Acceptor;
use crate::tls::acceptor::{agreed, explain};

/// Answer to a plain HTTP/1 client; Go's servers say much the same.
const PLAIN_HTTP1: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
                           Content-Length: 48\r\nConnection: close\r\n\r\n\
                           etcd-proxy: this port speaks TLS; use https://\r\n";

/// Answer to a plain HTTP/2 client: an empty SETTINGS frame, and GOAWAY with INADEQUATE_SECURITY
/// (RFC 9113 section 7) and a text that gRPC clients show.
const PLAIN_HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
                             \0\0\x32\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0c\
                             this port speaks TLS; use https:// for it.";

/// Limit in bytes of what is read from such a client after the answer. Closing with bytes unread
/// would reset the connection, and the client could lose the answer.
const PLAIN_REQUEST: u64 = 16 * 1024;

/// The protocols that a listener offers by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferedProtocols {
    /// HTTP/2 and HTTP/1.1.
    Both,
    /// HTTP/1.1 only.
    Http1,
}

/// Accepts a handshake; the caller limits the time. `listener` and `from` are for the log, which
/// gets the reason of a failure.
///
/// # Errors
/// The kind of failure; `None` for a client that left without sending a byte, like a probe for an
/// open port.
pub async fn accept_tls<S>(
    mut stream: S,
    acceptor: &Acceptor,
    offered: OfferedProtocols,
    (listener, from): (&str, &str),
) -> Result<Box<TlsStream<CoalescingWriter<S>>>, Option<ClientTlsError>>
where
    S: AsyncRead + AsyncWrite + Peek + Unpin,
{
    let mut first = [0];
    if !matches!(stream.peek_at(&mut first).await, Ok(1..)) {
        return Err(None);
    }
    if first != [TLS_HANDSHAKE] {
        tracing::info!(
            listener,
            client = from,
            "a client speaks plain HTTP to a port with TLS; it should use https://"
        );
        let _ = turn_away(&mut stream).await;
        return Err(Some(ClientTlsError::PlainToTls));
    }
    let stream = CoalescingWriter(stream);
    let accepting = match offered {
        OfferedProtocols::Both => acceptor.accept(stream),
        OfferedProtocols::Http1 => acceptor.accept_http1(stream),
    };
    let accepted = accepting.await.map_err(|error| explain(&error));
    match accepted.and_then(|stream| acceptor.judge_again(&stream).map(|()| stream)) {
        // Boxed: it holds the whole session's state, and is moved from future to future.
        Ok(stream) => Ok(Box::new(stream)),
        Err(reason) => {
            // The reason is part of the message, so that repeats are suppressed per reason.
            tracing::warn!(
                listener,
                client = from,
                "a TLS handshake with a client failed: {reason}"
            );
            Err(Some(ClientTlsError::Handshake))
        }
    }
}

/// Logs that a client speaks TLS to a plaintext port.
pub fn warn_of_tls(listener: &str, from: &str) {
    tracing::warn!(
        listener,
        client = from,
        "a client speaks TLS to a port that does not; it should use http://, or the port's URL here should be https://"
    );
}

/// Returns the protocol that a client speaks: the one agreed on by ALPN, or by its first bytes. The
/// caller limits the time. For HTTP/2 this waits for the first bytes, so that a client that agrees
/// on it and then sends nothing gets no more time than others. HTTP/2 clients without ALPN send
/// their preface in one piece.
///
/// # Errors
/// Those of the stream.
pub async fn negotiated_protocol<S>(stream: &mut TlsStream<S>) -> io::Result<Protocol>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let agreed = match agreed(stream) {
        Some(b"h2") => Some(Protocol::Http2),
        // The time for its head is limited elsewhere.
        Some(_) => return Ok(Protocol::Http1),
        None => None,
    };
    Ok(match (Pin::new(stream).fill_buf().await?, agreed) {
        ([], _) => Protocol::Gone,
        (_, Some(protocol)) => protocol,
        (bytes, None) if bytes.starts_with(b"PRI ") => Protocol::Http2,
        _ => Protocol::Http1,
    })
}

/// Tells a client without TLS, in its own protocol, that this port speaks TLS.
async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    stream.read_buf(&mut head).await?;
    let answer = if head.starts_with(b"PRI ") { PLAIN_HTTP2 } else { PLAIN_HTTP1.as_bytes() };
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(PLAIN_REQUEST), &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::timeout;
    use tokio_rustls::{TlsAcceptor, TlsConnector, client};

    use super::*;

    /// Returns both ends of a connection whose client offers these protocols.
    async fn pair(alpn: &[&str]) -> (client::TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["me.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut offer = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        offer.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut accept = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        accept.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (near, far) = duplex(16 * 1024);
        let name = ServerName::try_from("me.example").unwrap();
        let connecting = TlsConnector::from(Arc::new(offer)).connect(name, near);
        let accepting = TlsAcceptor::from(Arc::new(accept)).accept(far);
        let (near, far) = tokio::join!(connecting, accepting);
        (near.unwrap(), far.unwrap())
    }

    /// A silent client must not be taken for HTTP/2: such connections are kept much longer.
    #[tokio::test]
    async fn http2_is_spoken_when_its_preface_comes_and_not_when_it_is_agreed_on() {
        let (mut client, mut ours) = pair(&["h2"]).await;
        let silent = timeout(Duration::from_millis(200), negotiated_protocol(&mut ours)).await;
        assert!(silent.is_err(), "{silent:?}");
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        assert_eq!(negotiated_protocol(&mut ours).await.unwrap(), Protocol::Http2);

        let (client, mut ours) = pair(&["h2"]).await;
        drop(client);
        assert_eq!(
            negotiated_protocol(&mut ours).await.ok().unwrap_or(Protocol::Gone),
            Protocol::Gone
        );
        let (_client, mut ours) = pair(&["http/1.1"]).await;
        assert_eq!(negotiated_protocol(&mut ours).await.unwrap(), Protocol::Http1);
    }

    #[test]
    fn the_answers_to_plain_http_are_as_long_as_they_say() {
        let (_, body) = PLAIN_HTTP1.split_once("\r\n\r\n").unwrap();
        assert!(PLAIN_HTTP1.contains(&format!("Content-Length: {}\r\n", body.len())));
        let goaway = &PLAIN_HTTP2[9..];
        let length = usize::from(goaway[2]);
        assert_eq!((goaway[3], goaway.len()), (7, 9 + length));
    }
}
