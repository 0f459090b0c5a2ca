//! The TLS handshake with a client, and a readable answer to one that speaks plain HTTP to a TLS port.
//!
//! The first byte is peeked at before anything is read: a handshake always begins with the same one, and everything else
//! on such a port is a client that was given the wrong scheme.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;

use super::preface::{Peek, Protocol, TLS_HANDSHAKE};
use crate::tls::Acceptor;
use crate::tls::acceptor::{agreed, explain};

/// What a plain HTTP/1 client is told; Go's servers say much the same.
const PLAIN_HTTP1: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
                           Content-Length: 48\r\nConnection: close\r\n\r\n\
                           etcd-proxy: this port speaks TLS; use https://\r\n";

/// What a plain HTTP/2 client is told: an empty SETTINGS frame, and GOAWAY with INADEQUATE_SECURITY (RFC 9113 section
/// 7) and these words, which gRPC clients show.
const PLAIN_HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
                             \0\0\x32\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0c\
                             this port speaks TLS; use https:// for it.";

/// What is read of such a client, so that closing does not throw our answer away.
const PLAIN_REQUEST: u64 = 16 * 1024;

/// Does the handshake; the caller limits the time. Returns the stream, or `None` when there is nothing to serve: the
/// reason is in the log, with `from`, when it is worth knowing.
pub async fn shake<S>(mut stream: S, acceptor: &Acceptor, from: &str) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Peek + Unpin,
{
    let mut first = [0];
    // A client that leaves without a word is a probe that only looks whether the port is open.
    if stream.peek_at(&mut first).await.ok()? == 0 {
        return None;
    }
    if first != [TLS_HANDSHAKE] {
        tracing::info!(
            client = from,
            "a client speaks plain HTTP to a port with TLS; it should use https://"
        );
        let _ = turn_away(&mut stream).await;
        return None;
    }
    match acceptor.accept(stream).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            // In the message, so that another reason is another line.
            let reason = explain(&error);
            tracing::warn!(client = from, "a TLS handshake with a client failed: {reason}");
            None
        }
    }
}

/// Tells what a client speaks: as was agreed on, or by its first bytes, for which the caller limits the time. Those who
/// speak HTTP/2 without ALPN send their preface in one piece.
///
/// # Errors
/// The stream's.
pub async fn spoken<S>(stream: &mut TlsStream<S>) -> io::Result<Protocol>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match agreed(stream) {
        Some(b"h2") => return Ok(Protocol::Http2),
        Some(_) => return Ok(Protocol::Http1),
        None => {}
    }
    Ok(match Pin::new(stream).fill_buf().await? {
        [] => Protocol::Gone,
        bytes if bytes.starts_with(b"PRI ") => Protocol::Http2,
        _ => Protocol::Http1,
    })
}

/// Answers a client that speaks no TLS in its own protocol.
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
    use super::*;

    #[test]
    fn the_answers_to_plain_http_are_as_long_as_they_say() {
        let (_, body) = PLAIN_HTTP1.split_once("\r\n\r\n").unwrap();
        assert!(PLAIN_HTTP1.contains(&format!("Content-Length: {}\r\n", body.len())));
        let goaway = &PLAIN_HTTP2[9..];
        let length = usize::from(goaway[2]);
        assert_eq!((goaway[3], goaway.len()), (7, 9 + length));
    }
}
