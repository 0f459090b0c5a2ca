//! Endpoints whose name leads to several addresses, one of which is not the cluster's.

use std::cell::Cell;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::link::Timeouts;
use crate::upstream::scripted::Member;

const OURS: u64 = 1;

fn link(port: u16) -> Rc<Link> {
    let (url, http) = ("http://127.0.0.1:1", ::http::uri::Scheme::HTTP);
    let endpoint = Endpoint::new(url, OURS, "m", 1, http, "127.0.0.1", port, 1).unwrap();
    Rc::new(Link::new(Arc::new(endpoint), 0, Timeouts::default(), Arc::default()))
}

/// An address that accepts connections, says nothing, and counts them.
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

/// A connection to `address`, which names `cluster` if it is asked at all.
async fn connect(link: &Link, address: &Address, cluster: u64) -> (MemberIo, bool) {
    let io = link.dial(Alpn::H2, Some(address.at)).await.unwrap();
    let Some(attempt) = link.admit(&io.signs()).await.unwrap() else { return (io, true) };
    let signs = Some(io.signs());
    let said = Said { cluster: Ok(cluster), signs, grpc: None, _http: None };
    let is_proved = link.conclude(attempt, said).is_ok();
    (io, is_proved)
}

#[tokio::test]
async fn an_address_of_another_cluster_shuts_out_no_address_that_is_proved() {
    LocalSet::new()
        .run_until(async {
            let (ours, foreign, later) = (address().await, address().await, address().await);
            let link = link(ours.at.port());
            let (kept, is_proved) = connect(&link, &ours, OURS).await;
            assert!(is_proved);
            assert!(!connect(&link, &foreign, 2).await.1);
            assert!(link.endpoint.is_trusted() && link.endpoint.is_usable());
            assert_eq!(link.endpoint.proofs().failed(), [foreign.at], "it is dialled last");
            drop(kept);
            assert!(!connect(&link, &later, 2).await.1);
            assert!(!link.endpoint.is_trusted() && link.endpoint.is_unproved());
            assert!(connect(&link, &ours, OURS).await.1);
            assert!(link.endpoint.is_trusted() && link.endpoint.is_usable());
        })
        .await;
}

#[tokio::test]
async fn a_connection_under_a_proof_makes_up_for_what_another_address_said_meanwhile() {
    LocalSet::new()
        .run_until(async {
            let ours = address().await;
            let link = link(ours.at.port());
            let _kept = connect(&link, &ours, OURS).await;
            link.endpoint.mark_unproved(&ProofError::Foreign { theirs: 2, ours: OURS });
            assert!(connect(&link, &ours, 2).await.1, "it is not asked again");
            assert!(link.endpoint.is_trusted() && link.endpoint.is_usable());
        })
        .await;
}

#[tokio::test]
async fn an_endpoint_in_doubt_is_not_believed_for_the_connections_that_are_open() {
    LocalSet::new()
        .run_until(async {
            let ours = address().await;
            let link = link(ours.at.port());
            let (_kept, _) = connect(&link, &ours, OURS).await;
            link.unary.take(&*link).await.unwrap();
            link.endpoint.proofs().forget();
            link.endpoint.mark_unproved(&ProofError::Foreign { theirs: 2, ours: OURS });
            link.set_timeouts(Timeouts { proof: Duration::from_millis(50), ..Timeouts::default() });
            link.prove_new().await.unwrap_err();
            assert_eq!(ours.accepted.get(), 3, "it was asked over a new connection");
            assert!(!link.endpoint.is_trusted());
        })
        .await;
}

#[tokio::test]
async fn a_proof_goes_on_when_nobody_waits_for_it_and_is_had_once() {
    LocalSet::new()
        .run_until(async {
            let silent = address().await;
            let link = link(silent.at.port());
            let limit = Duration::from_millis(600);
            link.set_timeouts(Timeouts { proof: limit, ..Timeouts::default() });
            for _ in 0..2 {
                timeout(Duration::from_millis(20), link.prove_new()).await.unwrap_err();
            }
            let failure = link.prove_new().await.unwrap_err();
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
            let link = link(member.at.port());
            link.set_timeouts(Timeouts { proof: Duration::from_secs(10), ..Timeouts::default() });
            member.close_at_once(1);
            assert!(link.http2(Use::Unary).await.is_ok());
            assert_eq!(link.endpoint.protocols.speaks(Api::Grpc), None);
            assert!(link.endpoint.is_trusted());
        })
        .await;
}

#[tokio::test]
async fn what_did_without_a_proof_gives_one_once_it_is_required() {
    LocalSet::new()
        .run_until(async {
            let nameless = address().await;
            let link = link(nameless.at.port());
            let strict = Timeouts::default();
            link.set_timeouts(Timeouts { proof_required: false, ..strict });
            let io = link.dial(Alpn::H2, Some(nameless.at)).await.unwrap();
            let attempt = link.admit(&io.signs()).await.unwrap().unwrap();
            let cluster = Err(ProofError::Nameless("no cluster".into()));
            let said = Said { cluster, signs: Some(io.signs()), grpc: None, _http: None };
            assert!(link.conclude(attempt, said).is_ok() && link.endpoint.is_assumed());
            link.unary.take(&*link).await.unwrap();
            link.set_timeouts(strict);
            assert!(!link.endpoint.is_trusted() && link.unary.is_empty());
            let io = link.dial(Alpn::H2, Some(nameless.at)).await.unwrap();
            assert!(link.admit(&io.signs()).await.unwrap().is_some(), "it is asked");
        })
        .await;
}
