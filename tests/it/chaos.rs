//! Many clients and members, of which all but one misbehave at random: no read fails, and no write
//! is received twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use h2::Reason;

use crate::support::grpc::{Channel, Failure};
use crate::support::members::{Arrival, Members, start};
use crate::support::rpc::{PUT, RANGE, WATCH};
use crate::support::{PATIENCE, http1, run, shared};

/// The member that never misbehaves.
const GOOD: usize = 0;
const CLIENTS: usize = 8;
const ROUNDS: usize = 60;

type Seen = Arc<Mutex<HashMap<String, usize>>>;

fn note(seen: &Seen, body: &[u8]) {
    let id = String::from_utf8_lossy(body).into_owned();
    *seen.lock().unwrap().entry(id).or_default() += 1;
}

/// Answers, or fails in one of the ways in which a member can fail before its answer.
async fn answer(arrival: Arrival, seen: Seen) {
    let way = fastrand::u8(..8);
    match arrival {
        Arrival::Http1(mut exchange) => {
            let Ok(body) = exchange.body().await else { return };
            note(&seen, &body);
            match way {
                0 if exchange.member != GOOD => exchange.reset(),
                1 if exchange.member != GOOD => drop(exchange),
                2 if exchange.member != GOOD => {
                    let _ = exchange.send("HTTP/1.1 2").await;
                }
                3 => {
                    let head =
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine";
                    let _ = exchange.send(head).await;
                }
                4 => {
                    // The connection is closed as soon as it is idle.
                    let head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
                    let _ = exchange.send(head).await;
                }
                _ => exchange.answer(200, "fine").await,
            }
        }
        Arrival::Http2(mut call) => {
            if way == 0 && call.member != GOOD {
                return call.reset(Reason::REFUSED_STREAM);
            }
            let Ok((body, _)) = call.read_all().await else { return };
            if body.len() > 5 {
                note(&seen, &body[5..]);
            }
            match way {
                1 if call.member != GOOD => call.reset(Reason::INTERNAL_ERROR),
                2 if call.member != GOOD => call.cut(),
                3 if call.member != GOOD => {
                    call.go_away();
                    call.answer(b"fine");
                }
                _ => call.answer(b"fine"),
            }
        }
        Arrival::Raw(..) => {}
    }
}

/// Waits for an answer of any kind. No request may hang, since no member here does.
async fn soon<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, answer).await.expect("no answer")
}

/// A write or watch may fail with UNAVAILABLE, or with the member's own RST_STREAM, which is passed
/// on.
fn assert_is_honest(failure: &Failure) {
    let is_reset = failure.code().is_none()
        && failure.to_string().contains(Reason::INTERNAL_ERROR.description());
    assert!(failure.code() == Some(14) || is_reset, "{failure}");
}

/// Runs one client. Returns the writes that were acknowledged.
async fn live(client: usize, address: String) -> Vec<String> {
    let mut done = Vec::new();
    let mut http = http1::Connection::open(&address).await.unwrap();
    let channel = Channel::open(&address).await.unwrap();
    for round in 0..ROUNDS {
        let get = soon(http.exchange("GET", "/v2/keys/a", &[], "")).await.unwrap();
        assert_eq!(get.status, 200, "GET {round} of client {client}: {}", get.text());
        let range = soon(http.exchange("POST", "/v3/kv/range", &[], "read")).await.unwrap();
        assert_eq!(range.status, 200, "JSON read {round} of client {client}: {}", range.text());
        let range = soon(channel.unary_bytes(RANGE, b"read")).await;
        assert_eq!(range.unwrap_or_else(|f| panic!("read {round} of {client}: {f}")), "fine");

        let id = format!("{client}/{round}/v2");
        let put = soon(http.exchange("PUT", "/v2/keys/a", &[], &id)).await.unwrap();
        assert!([200, 502].contains(&put.status), "{}", put.status);
        done.extend((put.status == 200).then_some(id));
        let id = format!("{client}/{round}/v3");
        match soon(channel.unary_bytes(PUT, id.as_bytes())).await {
            Ok(_) => done.push(id),
            Err(failure) => assert_is_honest(&failure),
        }
        let id = format!("{client}/{round}/watch");
        if let Err(failure) = soon(channel.unary_bytes(WATCH, id.as_bytes())).await {
            assert_is_honest(&failure);
        }
        assert_eq!(channel.ended(), None);
    }
    done
}

#[test]
fn among_failing_members_no_read_fails_and_no_write_is_seen_twice() {
    let _machine = shared();
    run(async {
        for balance in ["sticky", "p2c"] {
            let members = Members::start(3).await;
            let plan =
                members.plan().arguments(&["--proxy-failure-wait", "0", "--balance", balance]);
            let proxy = start(plan).await;
            let seen = Seen::default();
            let noted = seen.clone();
            let _serving = members.serve(move |arrival| answer(arrival, noted.clone()));
            let mut clients = Vec::new();
            for client in 0..CLIENTS {
                clients.push(tokio::spawn(live(client, proxy.address.clone())));
            }
            let mut acknowledged = Vec::new();
            for client in clients {
                acknowledged.extend(client.await.unwrap());
            }
            let seen = seen.lock().unwrap();
            for (id, times) in seen.iter().filter(|(id, _)| id.contains('/')) {
                assert_eq!(*times, 1, "{id} was seen {times} times");
            }
            for id in &acknowledged {
                assert!(seen.contains_key(id), "{id} was acknowledged and never seen");
            }
            assert!(acknowledged.len() > CLIENTS * ROUNDS, "only {} writes", acknowledged.len());
        }
    });
}
