//! Probes a URL that speaks HTTP and no gRPC: the same linearizable read, over the JSON gateway.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::timeout;

use super::endpoint::Finding;
use super::http1::ask::ask;
use super::link::Link;
use super::proof::ProofError;
use super::proof::http::cluster_id;

/// The key `"\0"`, counted and not read.
const RANGE: &str = "{\"key\":\"AA==\",\"limit\":\"1\",\"count_only\":true}";

/// Probes `link`'s URL over HTTP. Returns `None` when it speaks no HTTP, or cannot be reached.
pub async fn probe(link: &Rc<Link>, deadline: Duration) -> Option<Finding> {
    let range = async {
        let connection = link.http1().await.ok()?;
        ask(link, connection, Method::POST, "/v3/kv/range", RANGE).await.ok()
    };
    match timeout(deadline, range).await {
        Ok(Some((status, answer))) => {
            Some(judge(status, &answer, link.endpoint.proofs().cluster()))
        }
        Ok(None) => None,
        Err(_) => {
            let reason = format!("no answer within {deadline:?}");
            let version = async {
                let connection = link.new_http1().await.ok()?;
                ask(link, connection, Method::GET, "/version", "").await.ok()
            };
            match timeout(deadline / 4, version).await {
                Ok(Some(_)) => {
                    Some(Finding::Unwell(format!("{reason}; alive, but without a quorum")))
                }
                _ => Some(Finding::Silent(reason)),
            }
        }
    }
}

/// OK proves a quorum; so do the answers for want of permission: InvalidArgument, PermissionDenied,
/// Unauthenticated.
fn judge(status: StatusCode, answer: &Bytes, ours: u64) -> Finding {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    match (status, answer["code"].as_u64()) {
        (StatusCode::OK, None) if answer["header"].is_object() => match cluster_id(&answer) {
            Some(theirs) if theirs != ours => {
                Finding::Unproved(ProofError::Foreign { theirs, ours }.to_string())
            }
            _ => Finding::Well,
        },
        (_, Some(3 | 7 | 16)) => Finding::Well,
        (_, Some(_)) => {
            let message = answer["message"].as_str().or(answer["error"].as_str());
            Finding::Unwell(message.unwrap_or("it cannot serve").to_owned())
        }
        (status, None) => {
            Finding::Unwell(format!("not an etcd member: it answers {status} to a JSON range"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_or_a_want_of_permission_proves_a_quorum() {
        let judge = |status: u16, text: &'static str| {
            judge(StatusCode::from_u16(status).unwrap(), &Bytes::from_static(text.as_bytes()), 1)
        };
        assert_eq!(judge(200, "{\"header\":{\"cluster_id\":\"1\"}}"), Finding::Well);
        let foreign = judge(200, "{\"header\":{\"cluster_id\":\"2\"}}");
        assert!(matches!(foreign, Finding::Unproved(_)), "{foreign:?}");
        assert_eq!(judge(400, "{\"code\":3,\"message\":\"user name is empty\"}"), Finding::Well);
        let no_leader = judge(503, "{\"code\":14,\"message\":\"etcdserver: no leader\"}");
        assert_eq!(no_leader, Finding::Unwell("etcdserver: no leader".into()));
        for (status, text) in [(200, "{}"), (200, "hello"), (404, "404 page not found")] {
            assert!(matches!(judge(status, text), Finding::Unwell(_)), "{status} {text}");
        }
    }
}
