//! Reads what a client still sends of a request that is answered without it.
//!
//! An answer in the middle of a request's body is followed by a reset of its stream, or by the end
//! of its connection with bytes unread, which resets that. curl 7.88 then reports an error and not
//! the answer. Members, nginx and HAProxy read on for a while, and so do we.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::timeout;

/// Bytes that are read. Most of what is refused is far smaller; etcd takes requests of up to 1.5
/// MiB.
const MOST: usize = 2 << 20;
/// How long the next piece may take: a client that waits for the answer before it goes on is told
/// soon.
const PIECE: Duration = Duration::from_secs(1);
/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(5);

/// Reads on what the client sends of the body of a request.
pub async fn discard_rest(request: Box<Request<Incoming>>) {
    // A client that waits for 100 sends nothing.
    if request.headers().contains_key(EXPECT) || request.body().is_end_stream() {
        return;
    }
    // Boxed, since every request has room for what few need.
    Box::pin(async { discard(&mut request.into_body()).await }).await;
}

/// Reads a body to its end, or as far as it is worth.
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
