//! Reads and discards the rest of a request body after the request has been answered early.
//!
//! Answering in the middle of a request body resets the HTTP/2 stream, or closes the HTTP/1
//! connection with bytes unread, which resets the TCP connection. curl 7.88 then reports an error
//! instead of the answer. Members, nginx and HAProxy keep reading for a while, and so do we.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::timeout;

/// Bytes read before giving up. Most refused requests are far smaller; etcd accepts requests of up
/// to 1.5 MiB.
const MOST: usize = 2 << 20;
/// Longest wait for the next piece. Short, so that a client that waits for the answer before it
/// sends more gets it soon.
const PIECE: Duration = Duration::from_secs(1);
/// Longest time spent on the whole body.
const WHOLE: Duration = Duration::from_secs(5);

/// Reads and discards what the client still sends of the request body.
pub async fn discard_rest(request: Box<Request<Incoming>>) {
    // A client that waits for `100 Continue` sends nothing.
    if request.headers().contains_key(EXPECT) || request.body().is_end_stream() {
        return;
    }
    // Boxed: few requests need this, and unboxed it would enlarge every request's future.
    Box::pin(async { discard(&mut request.into_body()).await }).await;
}

/// Reads a body to its end, or until [`MOST`], [`PIECE`] or [`WHOLE`] is reached.
pub async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B) {
    let reading = async {
        let mut read = 0;
        while read < MOST {
            let next = timeout(PIECE, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)));
            match next.await {
                Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
                Ok(Some(Err(_)) | None) | Err(_) => break,
            }
        }
    };
    let _ = timeout(WHOLE, reading).await;
}
