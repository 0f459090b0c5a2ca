//! A small HTTP/1.1 client that shows the bytes on the wire: raw requests, heads, single chunks,
//! regular and aborted ends.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::tls::{Dialer, Stream};

/// The status and headers of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// Headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its chunked coding.
    pub body: Vec<u8>,
}

impl Head {
    /// Returns the first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// Returns the first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses the body as JSON and panics if it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// One connection.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

impl Connection {
    /// Connects to `HOST:PORT`.
    pub async fn open(address: &str) -> Result<Self> {
        Self::open_by(&Dialer::plain(), address).await
    }

    /// Connects to `HOST:PORT`, with TLS if the dialer has it.
    pub async fn open_by(dialer: &Dialer, address: &str) -> Result<Self> {
        let stream = dialer.dial(address, "http/1.1").await?;
        Ok(Self { stream: BufReader::with_capacity(512, stream) })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref()).await?;
        self.stream.get_mut().flush().await
    }

    /// Sends a request with `Host`, `Content-Length` if there is a body, and the given headers.
    pub async fn send_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &str,
    ) -> Result<()> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        self.send(text).await
    }

    /// Sends a request and reads its whole answer.
    pub async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &str,
    ) -> Result<Answer> {
        self.send_request(method, path, headers, body).await?;
        let head = self.head().await?;
        let body = if method == "HEAD" { Vec::new() } else { self.body(&head).await? };
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\n") {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended in a line"));
        }
        let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// Reads an answer's head.
    pub async fn head(&mut self) -> Result<Head> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, first))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Head { status, headers })
    }

    /// Reads the whole body that belongs to a head.
    pub async fn body(&mut self, head: &Head) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        if head
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            while let Some(chunk) = self.chunk().await? {
                body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = head.header("content-length") {
            let length =
                length.parse().map_err(|_| Error::new(ErrorKind::InvalidData, "content-length"))?;
            body.resize(length, 0);
            self.stream.read_exact(&mut body).await?;
        } else if head.status != 204 && head.status != 304 && head.status >= 200 {
            self.stream.read_to_end(&mut body).await?;
        }
        Ok(body)
    }

    /// Reads one chunk of a chunked body; `None` after the last one, an error if the body is cut
    /// off.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| Error::new(ErrorKind::InvalidData, line.clone()))?;
        if size == 0 {
            while !self.line().await?.is_empty() {}
            return Ok(None);
        }
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).await?;
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    /// Reads exactly `count` bytes, after a protocol upgrade.
    pub async fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// Waits until the other side closes; true if no byte came before that.
    pub async fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf().await, Ok([]) | Err(_))
    }
}

/// Sends one request on a new connection.
pub async fn request(address: &str, method: &str, path: &str, body: &str) -> Result<Answer> {
    let mut connection = Connection::open(address).await?;
    let headers: &[&str] = if method == "POST" { &["Content-Type: application/json"] } else { &[] };
    connection.exchange(method, path, headers, body).await
}

/// Sends a GET on a new connection and panics if there is no answer.
pub async fn get(address: &str, path: &str) -> Answer {
    request(address, "GET", path, "").await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

/// Sends a POST of JSON on a new connection and panics if there is no answer.
pub async fn post(address: &str, path: &str, body: &str) -> Answer {
    request(address, "POST", path, body)
        .await
        .unwrap_or_else(|error| panic!("POST {path}: {error}"))
}

/// Sends a v2 request with a form as its body.
pub async fn form(address: &str, method: &str, path: &str, form: &str) -> Answer {
    let mut connection = Connection::open(address).await.expect("a connection");
    let headers = ["Content-Type: application/x-www-form-urlencoded"];
    let answer = connection.exchange(method, path, &headers, form).await;
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}
