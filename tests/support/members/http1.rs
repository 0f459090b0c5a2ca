//! A scripted member's side of HTTP/1: one request, and the bytes that the test sends back.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Arrival, Presence, Shared};

/// A request whose head has arrived. Dropping it closes the connection.
pub struct Exchange {
    /// The member that received it.
    pub member: usize,
    /// The number of its connection among that member's, from 0.
    pub connection: usize,
    /// `METHOD TARGET HTTP/1.1`.
    pub first_line: String,
    /// Headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    wire: Wire,
}

struct Wire {
    stream: BufReader<TcpStream>,
    shared: Arc<Shared>,
    number: usize,
    _presence: Presence,
}

/// Reads the next request of a new connection and hands it over.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>, number: usize) {
    let _presence = shared.opened();
    Wire { stream: BufReader::new(stream), shared, number, _presence }.next().await;
}

impl Wire {
    async fn next(mut self) {
        let Ok(first_line) = self.line().await else { return };
        let mut headers = Vec::new();
        loop {
            match self.line().await {
                Ok(line) if line.is_empty() => break,
                Ok(line) => {
                    let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                Err(_) => return,
            }
        }
        if headers.iter().any(|(name, value)| name == "user-agent" && value == "etcd-proxy") {
            // The proxy's own request, by which it finds out whether the port speaks HTTP/1.
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            if self.stream.get_mut().write_all(answer).await.is_ok() {
                Box::pin(self.next()).await;
            }
            return;
        }
        let shared = self.shared.clone();
        shared.hand_over(Arrival::Http1(Exchange {
            member: shared.member,
            connection: self.number,
            first_line,
            headers,
            wire: self,
        }));
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        let line = line.strip_suffix(b"\r\n").ok_or(ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }
}

impl Exchange {
    /// Returns the target of the first line.
    pub fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }

    /// Returns the only header of that name (in lower case); panics if there are two.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        let first = values.next();
        assert!(values.next().is_none(), "{name} twice in {:?}", self.headers);
        first.map(|(_, value)| value.as_str())
    }

    /// Reads the whole body, chunked or of known length. Returns trailers as `name: value` lines.
    pub async fn body_and_trailers(&mut self) -> Result<(Vec<u8>, Vec<String>)> {
        let mut body = Vec::new();
        if self.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await? {
                body.extend(chunk);
            }
            let mut trailers = Vec::new();
            loop {
                let line = self.wire.line().await?;
                if line.is_empty() {
                    return Ok((body, trailers));
                }
                trailers.push(line);
            }
        }
        if let Some(length) = self.header("content-length") {
            body.resize(length.parse().map_err(Error::other)?, 0);
            self.wire.stream.read_exact(&mut body).await?;
        }
        Ok((body, Vec::new()))
    }

    /// Reads the whole body.
    pub async fn body(&mut self) -> Result<Vec<u8>> {
        Ok(self.body_and_trailers().await?.0)
    }

    /// Reads one chunk of a chunked body; `None` is the last one, whose trailers are not read yet.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.wire.line().await?;
        let size = usize::from_str_radix(&line, 16).map_err(Error::other)?;
        if size == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; size + 2];
        self.wire.stream.read_exact(&mut chunk).await?;
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    /// Reads exactly `count` bytes, whatever they mean.
    pub async fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.wire.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.wire.stream.get_mut().write_all(bytes.as_ref()).await
    }

    /// Answers with a status and a body of known length, and then waits for the next request on the
    /// connection.
    pub async fn answer(mut self, status: u16, body: &str) {
        let head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n\r\n", body.len());
        // An error needs no handling: the client sees the broken answer.
        let _ = self.send(head + body).await;
        self.go_on();
    }

    /// Waits in a task for the next request on the connection.
    pub fn go_on(self) {
        tokio::spawn(self.wire.next());
    }

    /// Closes the connection with a RST instead of a FIN.
    pub fn reset(self) {
        let stream = self.wire.stream.into_inner();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Gives sent bytes time to arrive: waits until the other side closes, for 20 ms at most.
    pub async fn until_closed_or_idle(&mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(20), self.until_closed()).await;
    }

    /// Waits until the other side has closed or reset the connection, and drops the bytes that come
    /// before that.
    pub async fn until_closed(&mut self) {
        let mut waste = [0; 4096];
        while matches!(self.wire.stream.read(&mut waste).await, Ok(1..)) {}
    }
}
