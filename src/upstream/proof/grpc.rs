//! The proof over gRPC.
//!
//! A Watch is created and left after its first answer. That answer has a header even where auth
//! refuses the Watch (it is cancelled with a reason), and on a member without a quorum, since
//! nothing goes through raft (`server/etcdserver/api/v3rpc/watch.go`; seen on 3.4, 3.5, 3.6 and
//! 3.7, with auth off and on). A proxy in front of a member may let no Watch through, or write the
//! header itself (`etcd grpc-proxy` leaves the ID out). If the Watch names no cluster, a
//! serializable Range is asked for.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use super::{ProofError, is_passing};
use crate::upstream::call::{Answer, Until, call};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::http2::Connection;

/// `WatchRequest { create_request: { key: "\0" } }` as one gRPC message.
const WATCH: &[u8] = &[0, 0, 0, 0, 5, 0x0a, 3, 0x0a, 1, 0];
/// `RangeRequest { key: "\0", limit: 1, serializable: true, count_only: true }` as one gRPC
/// message.
const RANGE: &[u8] = &[0, 0, 0, 0, 9, 0x0a, 1, 0, 0x18, 1, 0x38, 1, 0x48, 1];

/// The gRPC status of members that are starting, and of proxies that have no member yet.
const UNAVAILABLE: &str = "14";

/// Asks for the ID of the cluster at the other end of `connection`. Waits at most `limit` for each
/// of up to two answers.
///
/// # Errors
/// [`ProofError::Nameless`] when the answers have no ID, [`ProofError::NotNow`] when they say that
/// there may be one later, [`ProofError::Broken`] when the call fails, and [`ProofError::NoAnswer`]
/// when `limit` passes.
pub async fn cluster_id(
    connection: &Rc<Connection>,
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<u64, ProofError> {
    let ask = async |path, message| {
        let asked = timeout(limit, ask(connection, endpoint, path, message)).await;
        asked.unwrap_or(Err(ProofError::NoAnswer(limit)))
    };
    let watch = ask("/etcdserverpb.Watch/Watch", WATCH).await?;
    if let Some(id) = watch.cluster_id() {
        return Ok(id);
    }
    let range = ask("/etcdserverpb.KV/Range", RANGE).await?;
    range.cluster_id().ok_or_else(|| match watch.end_text("grpc-status") {
        None if is_passing(range.status.as_u16()) => ProofError::NotNow(range.complaint()),
        Some(UNAVAILABLE) => ProofError::NotNow(watch.complaint()),
        _ => ProofError::Nameless(watch.complaint()),
    })
}

async fn ask(
    connection: &Rc<Connection>,
    endpoint: &Endpoint,
    path: &'static str,
    message: &'static [u8],
) -> Result<Answer, ProofError> {
    call(connection, endpoint, path, message, Until::Message)
        .await
        .map_err(|error| ProofError::Broken(error.to_string()))
}
