//! Memory is given back when clients leave, and a limit is not exceeded.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::members::{self, Arrival, Members, Serving};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, exclusive, http1, meter, run};

/// Members whose watches send one event and stay open.
async fn watched() -> Serving {
    Members::start(1).await.serve(async |arrival| match arrival {
        Arrival::Http1(mut exchange) if exchange.target().contains("watch") => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n";
            let _ = exchange.send(head).await;
            exchange.until_closed().await;
        }
        Arrival::Http1(exchange) => exchange.answer(200, "fine").await,
        Arrival::Http2(call) => call.hold().await,
        Arrival::Raw(..) => {}
    })
}

/// Opens connections that make one request and stay open; every fourth has a watch.
async fn crowd(proxy: &Proxy, count: usize) -> Vec<http1::Connection> {
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        if number % 4 == 0 {
            client.send_request("POST", "/v3/watch", &[], "{}").await.unwrap();
            client.head().await.unwrap();
        } else {
            assert_eq!(client.exchange("GET", "/version", &[], "").await.unwrap().text(), "fine");
        }
        clients.push(client);
    }
    clients
}

#[test]
fn memory_is_given_back_when_clients_leave() {
    let _machine = exclusive();
    run(async {
        let serving = watched().await;
        let proxy = serving.members.proxy().await;
        let pid = proxy.process.pid();
        drop(crowd(&proxy, 10).await);
        let before = meter::resident_bytes(pid);
        let clients = crowd(&proxy, 6_000).await;
        let with_all = meter::resident_bytes(pid);
        assert!(with_all > before + (30 << 20), "{} KiB", (with_all - before) / 1024);
        drop(clients);
        eventually("memory is given back", Duration::from_secs(60), async || {
            meter::resident_bytes(pid) < before + (20 << 20)
        })
        .await;
    });
}

/// Sets RLIMIT_AS to `more` bytes above the current use.
fn limit_address_space(pid: u32, more: u64) {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let limit = pages * 4096 + more;
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--as={limit}")])
        .status();
    assert!(status.unwrap().success(), "prlimit");
}

#[test]
fn near_its_limit_the_proxy_closes_idle_connections_and_lets_no_more_in() {
    let _machine = exclusive();
    run(async {
        let serving = watched().await;
        // As if the daemon had been started with such a limit.
        let plan = serving.members.plan().variable("GLIBC_TUNABLES", "glibc.malloc.arena_max=1");
        let proxy = members::start(plan).await;
        let pid = proxy.process.pid();
        let mut watch = crowd(&proxy, 1).await.remove(0);
        watch.chunk().await.unwrap();
        limit_address_space(pid, 24 << 20);
        let status = || std::thread::scope(|scope| scope.spawn(|| proxy.status()).join().unwrap());
        eventually("the limit is seen", PATIENCE, async || status()["memory"].is_object()).await;
        let mut clients = Vec::new();
        let flood = async {
            loop {
                let mut client = http1::Connection::open(&proxy.address).await.unwrap();
                client.send_request("GET", "/version", &[], "").await.unwrap();
                // A connection that is accepted is answered and stays open.
                if let Ok(Ok(head)) = timeout(Duration::from_secs(5), client.head()).await {
                    client.body(&head).await.unwrap();
                }
                clients.push(client);
            }
        };
        let told = eventually("it says so", PATIENCE, async || {
            proxy.process.wait_for_line("memory is short", Duration::ZERO).is_some()
        });
        tokio::select! { () = told => {}, () = flood => {} }
        let status = status();
        assert_eq!(status["memory"]["limited_by"], "LimitAS=", "{status}");
        assert!(clients.len() > 100, "{} clients", clients.len());
        eventually("idle connections are closed", PATIENCE, async || {
            let mut closed = 0;
            for client in &mut clients {
                let ended = timeout(Duration::from_micros(100), client.is_closed()).await;
                closed += usize::from(ended == Ok(true));
            }
            closed > 100
        })
        .await;
        assert!(timeout(Duration::from_millis(100), watch.is_closed()).await.is_err());
        drop(clients);
        eventually("others are let in again", PATIENCE, async || {
            let answer = timeout(Duration::from_secs(1), http1::get(&proxy.address, "/version"));
            answer.await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        assert_eq!(proxy.process.ended(), None);
    });
}
