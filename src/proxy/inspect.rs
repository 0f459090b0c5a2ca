//! Inspection for readonly: collects the body of a call that may be a read, and has the rules judge
//! it.
//!
//! Only what was judged is sent on. The body is collected up to [`INSPECTION_CAP`]; no other part
//! of the proxy holds a whole request body.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::time::timeout;

use super::client::Client;
use super::readonly::{INSPECTION_CAP, InspectedRpc};
use crate::message::grpc::{FirstMessage, Progress};
use crate::message::replay_body::ReplayBody;

/// Limit of bytes held of one client's requests at a time: four of the largest.
const CLIENT_MOST: usize = 4 * INSPECTION_CAP;
/// Limit of bytes held of all requests on a worker at a time.
const WORKER_MOST: usize = 16 * CLIENT_MOST;
/// Time limit for the next piece of a body. Held bytes count against everybody, so no client may
/// hold them for ever.
const PIECE: Duration = Duration::from_secs(10);

/// The reason why an inspected call is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It writes, or is not known to be a read.
    Write,
    /// It is longer than [`INSPECTION_CAP`], or the limits of bytes held for inspection are
    /// reached.
    TooLarge,
    /// It did not arrive whole, or its next piece took longer than 10 s.
    Broken,
}

/// Collects the one message of a gRPC call, and returns it to be sent on if it is a read.
///
/// # Errors
/// [`Rejected`].
pub async fn grpc(
    client: &Client,
    rpc: InspectedRpc,
    headers: &HeaderMap,
    body: ReplayBody,
) -> Result<Bytes, Rejected> {
    if headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
        return Err(Rejected::Write);
    }
    let mut held = HeldBytes::nothing(client);
    let mut first = FirstMessage::new(INSPECTION_CAP);
    let mut progress = Progress::NeedMore;
    collect(body, |chunk| {
        held.more(chunk.len())?;
        progress = first.push(&chunk);
        match progress {
            Progress::NeedMore | Progress::Complete => Ok(()),
            Progress::TooLarge => Err(Rejected::TooLarge),
            Progress::Compressed | Progress::TrailingBytes => Err(Rejected::Write),
        }
    })
    .await?;
    if !first.message().is_some_and(|message| rpc.grpc_is_readonly(message)) {
        return Err(Rejected::Write);
    }
    first.into_frame().map(Bytes::from).ok_or(Rejected::Write)
}

/// Collects a JSON body, and returns the body to be sent in its place if it is a read.
///
/// # Errors
/// [`Rejected`].
pub async fn json(client: &Client, rpc: InspectedRpc, body: ReplayBody) -> Result<Bytes, Rejected> {
    let mut held = HeldBytes::nothing(client);
    let mut whole = Vec::new();
    collect(body, |chunk| {
        held.more(chunk.len())?;
        whole.extend_from_slice(&chunk);
        if whole.len() > INSPECTION_CAP { Err(Rejected::TooLarge) } else { Ok(()) }
    })
    .await?;
    rpc.json(&whole).map(Bytes::from).map_err(|_| Rejected::Write)
}

/// The bytes of one request that are held for inspection, counted for its client and for its worker
/// until dropped.
struct HeldBytes<'a> {
    client: &'a Client,
    bytes: usize,
}

impl<'a> HeldBytes<'a> {
    fn nothing(client: &'a Client) -> Self {
        Self { client, bytes: 0 }
    }

    fn more(&mut self, bytes: usize) -> Result<(), Rejected> {
        self.bytes += bytes;
        let counters =
            [(self.client.inspected(), CLIENT_MOST), (self.client.worker.inspected(), WORKER_MOST)];
        for (counter, _) in counters {
            counter.set(counter.get() + bytes);
        }
        let fits = counters.iter().all(|(counter, most)| counter.get() <= *most);
        if fits { Ok(()) } else { Err(Rejected::TooLarge) }
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        for counter in [self.client.inspected(), self.client.worker.inspected()] {
            counter.set(counter.get().saturating_sub(self.bytes));
        }
    }
}

async fn collect(
    mut body: ReplayBody,
    mut take: impl FnMut(Bytes) -> Result<(), Rejected>,
) -> Result<(), Rejected> {
    loop {
        let next = timeout(PIECE, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
        let Some(frame) = next.await.map_err(|_| Rejected::Broken)? else { return Ok(()) };
        if let Ok(chunk) = frame.map_err(|_| Rejected::Broken)?.into_data() {
            take(chunk)?;
        }
    }
}
