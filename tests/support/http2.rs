//! An HTTP/2 client that shows heads, bodies, trailers and resets as they arrive.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// One connection. It closes when it and all its streams are dropped.
pub struct Connection {
    send: SendRequest<Bytes>,
    authority: String,
    ended: Arc<Mutex<Option<Result<(), h2::Error>>>>,
    driver: AbortHandle,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Connection {
    /// Connects by prior knowledge to `HOST:PORT`.
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(64 << 20);
        builder.max_concurrent_reset_streams(10_000).initial_max_send_streams(10_000);
        builder.max_header_list_size(1 << 20).data_frame_budget(usize::MAX >> 1);
        let (send, connection) = builder.handshake::<_, Bytes>(stream).await.expect("a handshake");
        let ended = Arc::new(Mutex::new(None));
        let noted = ended.clone();
        let driver = tokio::spawn(async move {
            let end = connection.await;
            *noted.lock().expect("end") = Some(end);
        });
        Self { send, authority: address.to_owned(), ended, driver: driver.abort_handle() }
    }

    /// Sends a request's head; `last` if it has no body.
    pub async fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        last: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{target}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = self.send.clone().ready().await.expect("a connection that lives");
        ready.send_request(request.body(()).expect("a request"), last).expect("a stream")
    }

    /// Sends a whole request and waits for its whole answer.
    pub async fn exchange(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, h2::Error> {
        let (response, mut stream) = self.request(method, target, headers, body.is_empty()).await;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        whole(response).await
    }

    /// Returns how the connection ended; `None` while it is open.
    pub fn ended(&self) -> Option<Result<(), String>> {
        let ended = self.ended.lock().expect("end");
        ended.as_ref().map(|end| end.as_ref().copied().map_err(ToString::to_string))
    }

    /// Returns whether new streams can be opened: false after the other side's GOAWAY.
    pub async fn takes_streams(&self) -> bool {
        self.send.clone().ready().await.is_ok()
    }

    /// Closes the TCP connection without a GOAWAY.
    pub fn cut(&self) {
        self.driver.abort();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Waits for a whole answer.
pub async fn whole(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = next(&mut body).await? {
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: bytes, trailers })
}

/// Waits for the next part of a body and gives its window back; `None` at the end.
pub async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(data) = body.data().await.transpose()? else { return Ok(None) };
    let _ = body.flow_control().release_capacity(data.len());
    Ok(Some(data))
}
