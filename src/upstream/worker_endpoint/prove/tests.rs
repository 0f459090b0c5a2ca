//! Endpoints whose name has several addresses, one of them outside of the cluster.

use std::cell::Cell;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::scripted::Member;
use crate::upstream::worker_endpoint::Timeouts;

const OURS: u64 = 1;

fn upstream(port: u16) -> Rc<WorkerEndpoint> {
    let (url, http) = ("http://127.0.0.1:1", ::http::uri::Scheme::HTTP);
    let endpoint = Endpoint::new(url, OURS, "m", 1, http, "127.0.0.1", port, 1).unwrap();
    Rc::new(WorkerEndpoint::new(Arc::new(endpoint), 0, Timeouts::default(), Arc::default()))
}

/// An address that accepts and counts connections, and sends nothing.
struct Address {
    at: SocketAddr,
    accepted: Rc<Cell<usize>>,
    _accepting: tokio::task::JoinHandle<()>,
}

async fn address() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let accepted = Rc::new(Cell::new(0));
    let counted = accepted.clone();
    let _accepting = tokio::task::spawn_local(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
            counted.set(counted.get() + 1);
        }
    });
    Address { at, accepted, _accepting }
}

/// Connects to `address`, which names `cluster` if it is asked.
async fn connect(upstream: &WorkerEndpoint, address: &Address, cluster: u64) -> (MemberIo, bool) {
    let io = upstream.dial(Alpn::H2, Some(address.at)).await.unwrap();
    let Some(attempt) = upstream.admit(&io.state()).await.unwrap() else { return (io, true) };
    let io_state = Some(io.state());
    let claim = ClusterClaim { cluster: Ok(cluster), io_state, grpc: None, _http: None };
    let is_proved = upstream.conclude(attempt, claim).is_ok();
    (io, is_proved)
}

#[tokio::test]
async fn an_address_of_another_cluster_shuts_out_no_address_that_is_proved() {
    LocalSet::new()
        .run_until(async {
            let (ours, foreign, later) = (address().await, address().await, address().await);
            let upstream = upstream(ours.at.port());
            let (kept, is_proved) = connect(&upstream, &ours, OURS).await;
            assert!(is_proved);
            assert!(!connect(&upstream, &foreign, 2).await.1);
            assert!(upstream.endpoint.is_trusted() && upstream.endpoint.is_usable());
            assert_eq!(upstream.endpoint.proofs().failed(), [foreign.at], "it is dialled last");
            drop(kept);
            assert!(!connect(&upstream, &later, 2).await.1);
            assert!(!upstream.endpoint.is_trusted() && upstream.endpoint.is_unproved());
            assert!(connect(&upstream, &ours, OURS).await.1);
            assert!(upstream.endpoint.is_trusted() && upstream.endpoint.is_usable());
        })
        .await;
}

#[tokio::test]
async fn a_connection_under_a_proof_makes_up_for_what_another_address_said_meanwhile() {
    LocalSet::new()
        .run_until(async {
            let ours = address().await;
            let upstream = upstream(ours.at.port());
            let _kept = connect(&upstream, &ours, OURS).await;
            upstream.endpoint.mark_unproved(&ProofError::Foreign { theirs: 2, ours: OURS });
            assert!(connect(&upstream, &ours, 2).await.1, "it is not asked again");
            assert!(upstream.endpoint.is_trusted() && upstream.endpoint.is_usable());
        })
        .await;
}

#[tokio::test]
async fn an_endpoint_in_doubt_is_not_believed_for_the_connections_that_are_open() {
    LocalSet::new()
        .run_until(async {
            let ours = address().await;
            let upstream = upstream(ours.at.port());
            let (_kept, _) = connect(&upstream, &ours, OURS).await;
            upstream.unary.take(&*upstream).await.unwrap();
            upstream.endpoint.proofs().forget();
            upstream.endpoint.mark_unproved(&ProofError::Foreign { theirs: 2, ours: OURS });
            upstream
                .set_timeouts(Timeouts { proof: Duration::from_millis(50), ..Timeouts::default() });
            upstream.prove_new().await.unwrap_err();
            assert_eq!(ours.accepted.get(), 3, "it was asked over a new connection");
            assert!(!upstream.endpoint.is_trusted());
        })
        .await;
}

#[tokio::test]
async fn a_proof_goes_on_when_nobody_waits_for_it_and_is_had_once() {
    LocalSet::new()
        .run_until(async {
            let silent = address().await;
            let upstream = upstream(silent.at.port());
            let limit = Duration::from_millis(600);
            upstream.set_timeouts(Timeouts { proof: limit, ..Timeouts::default() });
            for _ in 0..2 {
                timeout(Duration::from_millis(20), upstream.prove_new()).await.unwrap_err();
            }
            let failure = upstream.prove_new().await.unwrap_err();
            assert!(failure.is_passing() && failure.to_string().contains("no answer within 600ms"));
            assert_eq!(silent.accepted.get(), 1);
        })
        .await;
}

#[tokio::test]
async fn one_connection_that_breaks_is_no_word_about_grpc() {
    LocalSet::new()
        .run_until(async {
            let member = Member::start().await;
            let upstream = upstream(member.at.port());
            upstream
                .set_timeouts(Timeouts { proof: Duration::from_secs(10), ..Timeouts::default() });
            member.close_at_once(1);
            assert!(upstream.http2(PoolKind::Unary).await.is_ok());
            let protocols = &upstream.endpoint.protocols;
            assert_eq!(protocols.speaks(Api::Grpc), Some(true), "the next one has said so");
            assert!(upstream.endpoint.is_trusted());
            protocols.deny(Api::Grpc, Denial::Answered);
            upstream.endpoint.proofs().forget();
            assert!(upstream.http2(PoolKind::Unary).await.is_ok());
            assert_eq!(protocols.speaks(Api::Grpc), Some(true), "a proof lifts the denial");
        })
        .await;
}

#[tokio::test]
async fn what_did_without_a_proof_gives_one_once_it_is_required() {
    LocalSet::new()
        .run_until(async {
            let nameless = address().await;
            let upstream = upstream(nameless.at.port());
            let strict = Timeouts::default();
            upstream.set_timeouts(Timeouts { proof_required: false, ..strict });
            let io = upstream.dial(Alpn::H2, Some(nameless.at)).await.unwrap();
            let attempt = upstream.admit(&io.state()).await.unwrap().unwrap();
            let cluster = Err(ProofError::Nameless("no cluster".into()));
            let claim =
                ClusterClaim { cluster, io_state: Some(io.state()), grpc: None, _http: None };
            assert!(upstream.conclude(attempt, claim).is_ok() && upstream.endpoint.is_assumed());
            upstream.unary.take(&*upstream).await.unwrap();
            upstream.set_timeouts(strict);
            assert!(!upstream.endpoint.is_trusted() && upstream.unary.is_empty());
            let io = upstream.dial(Alpn::H2, Some(nameless.at)).await.unwrap();
            assert!(upstream.admit(&io.state()).await.unwrap().is_some(), "it is asked");
        })
        .await;
}

#[test]
fn connecting_to_an_endpoint_without_a_proof_always_has_a_limit() {
    let upstream = upstream(1);
    assert_eq!(upstream.dial_limit(), Some(Duration::from_secs(10)), "others wait for its proof");
    upstream.endpoint.mark_proved();
    assert_eq!(upstream.dial_limit(), None, "proxy-dial-timeout is off");
    let dial = Some(Duration::from_secs(30));
    upstream.set_timeouts(Timeouts { dial, ..Timeouts::default() });
    assert_eq!(upstream.dial_limit(), dial);
    upstream.endpoint.mark_unproved(&ProofError::Nameless("it".into()));
    assert_eq!(upstream.dial_limit(), dial, "it is what the operator asked for");
}
