//! Detects which protocol a client speaks: HTTP/2 by prior knowledge, HTTP/1, or TLS on a plaintext
//! port.
//!
//! The first bytes are peeked at, not read, so that nothing has to be replayed and hyper gets the
//! bare socket. A client that is slow to send even four bytes is peeked at again after a pause,
//! until its time is up.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::config::ListenScheme;

/// The first bytes of an HTTP/2 client (RFC 9113 section 3.4); no HTTP/1 method is called this.
const PRI: &[u8; 4] = b"PRI ";
/// The first byte of a TLS client (RFC 8446 section 5.1); no HTTP begins with it.
pub const TLS_HANDSHAKE: u8 = 22;
/// First pause between two peeks at a client that has sent fewer than four bytes; it doubles each
/// time.
const RECHECK_AFTER: Duration = Duration::from_millis(5);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// The protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// TLS: its first byte is that of a handshake record.
    Tls,
    /// The client left without sending a byte.
    Gone,
}

/// A stream whose first bytes can be peeked at without consuming them.
pub trait Peek {
    /// Waits for bytes and copies the first of them to `into` without consuming them. Returns how
    /// many; zero at the end of the stream.
    fn peek_at(&self, into: &mut [u8]) -> impl Future<Output = io::Result<usize>>;
}

impl Peek for TcpStream {
    async fn peek_at(&self, into: &mut [u8]) -> io::Result<usize> {
        self.peek(into).await
    }
}

impl Peek for UnixStream {
    async fn peek_at(&self, into: &mut [u8]) -> io::Result<usize> {
        self.async_io(Interest::READABLE, || {
            recv(self.as_raw_fd(), into, MsgFlags::MSG_PEEK).map_err(io::Error::from)
        })
        .await
    }
}

/// Detects the protocol that the client of `stream` speaks. The caller limits the time.
///
/// # Errors
/// Those of the stream.
pub async fn detect(stream: &impl Peek) -> io::Result<Protocol> {
    let mut first = [0; 4];
    let mut pause = RECHECK_AFTER;
    loop {
        let seen = stream.peek_at(&mut first).await?;
        match &first[..seen] {
            [] => return Ok(Protocol::Gone),
            [TLS_HANDSHAKE, ..] => return Ok(Protocol::Tls),
            bytes if bytes == PRI => return Ok(Protocol::Http2),
            bytes if !PRI.starts_with(bytes) => return Ok(Protocol::Http1),
            // `P`, `PR` or `PRI`: PUT and POST are still possible.
            _ => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Detects whether the client of `stream` speaks TLS, on a port that takes both; `None` when it
/// left without sending a byte. The caller limits the time.
///
/// # Errors
/// Those of the stream.
pub async fn scheme_of(stream: &impl Peek) -> io::Result<Option<ListenScheme>> {
    let mut first = [0];
    Ok(match (stream.peek_at(&mut first).await?, first) {
        (0, _) => None,
        (_, [TLS_HANDSHAKE]) => Some(ListenScheme::Tls),
        _ => Some(ListenScheme::Plain),
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn detected(pieces: &[&[u8]]) -> Protocol {
        let (mut client, server) = UnixStream::pair().unwrap();
        let looking = detect(&server);
        let talking = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::time::sleep(RECHECK_AFTER * 2).await;
            }
            client.shutdown().await.unwrap();
        };
        tokio::join!(looking, talking).0.unwrap()
    }

    #[tokio::test]
    async fn a_preface_in_pieces_is_http2() {
        assert_eq!(detected(&[b"P", b"R", b"I * HTTP/2.0"]).await, Protocol::Http2);
    }

    #[tokio::test]
    async fn a_put_in_pieces_is_http1() {
        assert_eq!(detected(&[b"P", b"UT / HTTP/1.1"]).await, Protocol::Http1);
    }

    #[tokio::test]
    async fn a_tls_record_is_tls() {
        assert_eq!(detected(&[b"\x16\x03\x01\x02\x00"]).await, Protocol::Tls);
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_gone() {
        assert_eq!(detected(&[]).await, Protocol::Gone);
    }
}
