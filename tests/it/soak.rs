//! Constant requests while everything around them changes: none fails because of a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::grpc::Channel;
use crate::support::members::{Arrival, Members, Serving};
use crate::support::proxy::Proxy;
use crate::support::rpc::{PUT, RANGE};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, http1, port, run, shared};

/// Members that answer every request.
async fn willing() -> Serving {
    Members::start(2).await.serve(async |arrival| match arrival {
        Arrival::Http1(mut exchange) => {
            let _ = exchange.body().await;
            exchange.answer(200, "fine").await;
        }
        Arrival::Http2(call) => call.answer(b"fine"),
        Arrival::Raw(..) => {}
    })
}

/// Reads and writes until told to stop, on kept connections and on new ones. Counts the answers.
async fn ask(address: String, stop: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    let mut kept = http1::Connection::open(&address).await.unwrap();
    let channel = Channel::open(&address).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        for (method, path) in [("GET", "/v2/keys/a"), ("POST", "/v3/kv/put")] {
            let answer = kept.exchange(method, path, &[], "x").await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let answer = http1::request(&address, method, path, "x").await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        for path in [RANGE, PUT] {
            assert_eq!(channel.unary_bytes(path, b"x").await.unwrap(), "fine");
        }
        assert_eq!(channel.ended(), None);
        answered.fetch_add(6, Ordering::Relaxed);
    }
}

#[test]
fn reloads_and_refreshes_fail_no_request() {
    let _machine = shared();
    run(async {
        let (one, other) = (willing().await, willing().await);
        let address = format!("127.0.0.1:{}", port::free());
        let second = format!("127.0.0.1:{}", port::free());
        let scratch = Scratch::new("soak");
        let path = scratch.join("etcd-proxy.toml");
        let write = |round: usize| {
            let serving = if (round / 2).is_multiple_of(2) { &one } else { &other };
            let peers = serving.members.initial_cluster();
            let balance = if round.is_multiple_of(3) { "sticky" } else { "p2c" };
            let more = if round.is_multiple_of(2) {
                String::new()
            } else {
                format!(", \"http://{second}\"")
            };
            let text = format!(
                "proxy = \"on\"\ninitial-cluster = \"{peers}\"\nbalance = \"{balance}\"\nworkers = 2\n\
                 listen-client-urls = [\"http://{address}\"{more}]\nproxy-refresh-interval = \"50ms\"\nhealth-interval = \"100ms\"\n"
            );
            let new = scratch.join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, &path).unwrap();
        };
        write(0);
        let file = path.display().to_string();
        let plan =
            Proxy::with_peers("").bare().arguments(&["--config-file", &file, "--data-dir", "data"]);
        let proxy = Arc::new(crate::support::members::start(plan).await);
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(tokio::spawn(ask(address.clone(), stop.clone(), answered.clone())));
        }
        for round in 1..=30 {
            write(round);
            let reloading = proxy.clone();
            let (said, fine) =
                tokio::task::spawn_blocking(move || reloading.command(&["reload"])).await.unwrap();
            assert!(fine, "round {round}: {said}");
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            tokio::time::timeout(PATIENCE, client).await.expect("a client hangs").unwrap();
        }
        assert!(answered.load(Ordering::Relaxed) > 100, "{answered:?} requests only");
    });
}
