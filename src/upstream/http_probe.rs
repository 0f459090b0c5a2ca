//! Probes a URL that speaks HTTP but no gRPC, by the same linearizable read over the JSON gateway.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::timeout;

use super::evidence::ProbeResult;
use super::http1::ask::ask;
use super::proof::ProofError;
use super::proof::http::cluster_id;
use super::worker_endpoint::WorkerEndpoint;

/// A count of the key `"\0"`, as in the gRPC probe.
const RANGE: &str = "{\"key\":\"AA==\",\"limit\":\"1\",\"count_only\":true}";

/// Probes `upstream`'s URL over HTTP. Returns `None` when it speaks no HTTP or cannot be reached.
pub async fn probe(upstream: &Rc<WorkerEndpoint>, deadline: Duration) -> Option<ProbeResult> {
    let range = async {
        let connection = upstream.http1().await.ok()?;
        ask(upstream, connection, Method::POST, "/v3/kv/range", RANGE).await.ok()
    };
    match timeout(deadline, range).await {
        Ok(Some((status, answer))) => {
            Some(evaluate(status, &answer, upstream.endpoint.proofs().cluster()))
        }
        Ok(None) => None,
        Err(_) => {
            let reason = format!("no answer within {deadline:?}");
            let version = async {
                let connection = upstream.new_http1().await.ok()?;
                ask(upstream, connection, Method::GET, "/version", "").await.ok()
            };
            match timeout(deadline / 4, version).await {
                Ok(Some(_)) => {
                    Some(ProbeResult::NoQuorum(format!("{reason}; alive, but without a quorum")))
                }
                _ => Some(ProbeResult::Unresponsive(reason)),
            }
        }
    }
}

/// Judges the answer to a linearizable range. OK proves a quorum. So do the permission errors
/// InvalidArgument (3), PermissionDenied (7) and Unauthenticated (16).
fn evaluate(status: StatusCode, answer: &Bytes, ours: u64) -> ProbeResult {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    match (status, answer["code"].as_u64()) {
        (StatusCode::OK, None) if answer["header"].is_object() => match cluster_id(&answer) {
            Some(theirs) if theirs != ours => {
                ProbeResult::Unproved(ProofError::Foreign { theirs, ours }.to_string())
            }
            _ => ProbeResult::Healthy,
        },
        (_, Some(3 | 7 | 16)) => ProbeResult::Healthy,
        (_, Some(code)) => {
            let message = answer["message"].as_str().or(answer["error"].as_str());
            let message = message.unwrap_or("it cannot serve").to_owned();
            if code == 14 {
                ProbeResult::NoQuorum(message)
            } else {
                ProbeResult::Unhealthy(message)
            }
        }
        (status, None) => ProbeResult::Unhealthy(format!(
            "not an etcd member: it answers {status} to a JSON range"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_or_a_want_of_permission_proves_a_quorum() {
        let evaluate = |status: u16, text: &'static str| {
            evaluate(StatusCode::from_u16(status).unwrap(), &Bytes::from_static(text.as_bytes()), 1)
        };
        assert_eq!(evaluate(200, "{\"header\":{\"cluster_id\":\"1\"}}"), ProbeResult::Healthy);
        let foreign = evaluate(200, "{\"header\":{\"cluster_id\":\"2\"}}");
        assert!(matches!(foreign, ProbeResult::Unproved(_)), "{foreign:?}");
        assert_eq!(
            evaluate(400, "{\"code\":3,\"message\":\"user name is empty\"}"),
            ProbeResult::Healthy
        );
        let no_leader = evaluate(503, "{\"code\":14,\"message\":\"etcdserver: no leader\"}");
        assert_eq!(no_leader, ProbeResult::NoQuorum("etcdserver: no leader".into()));
        for (status, text) in [(200, "{}"), (200, "hello"), (404, "404 page not found")] {
            assert!(matches!(evaluate(status, text), ProbeResult::Unhealthy(_)), "{status} {text}");
        }
    }
}
