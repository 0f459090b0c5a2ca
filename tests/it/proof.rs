//! A member's address gets clients' requests only after it has proved that it belongs to the
//! cluster.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::grpc::Channel;
use crate::support::members::{Arrival, CLUSTER, Members, start};
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::Proxy;
use crate::support::rpc::{PUT, RANGE, WATCH};
use crate::support::{PATIENCE, eventually, http1, run, shared};

const FOREIGN: u64 = 0xbad;

async fn answer(arrival: Arrival) {
    match arrival {
        Arrival::Http1(mut exchange) => {
            exchange.body().await.unwrap();
            exchange.answer(200, "fine").await;
        }
        Arrival::Http2(call) => call.answer(b"fine"),
        Arrival::Raw(..) => {}
    }
}

/// Returns the state of a member's proof from the status page.
async fn proof_of(proxy: &Proxy, name: &str) -> String {
    let status = http1::get(&proxy.address, "/proxy/status").await.json();
    let members = status["members"].as_array().cloned().unwrap_or_default();
    let member = members.iter().find(|member| member["name"] == name);
    member.map_or(String::new(), |it| it["endpoints"][0]["proof"].as_str().unwrap_or("").to_owned())
}

#[test]
fn what_a_list_adds_gets_no_request_before_its_proof_and_none_without() {
    let _machine = shared();
    run(async {
        for balance in ["sticky", "p2c"] {
            let members = Members::start(3).await;
            members.claim(1, FOREIGN);
            members.hang(2, true);
            members.list_only(&[0]);
            let arguments = ["--proxy-refresh-interval", "50", "--balance", balance];
            let proxy = start(members.plan().arguments(&arguments)).await;
            let serving = members.serve(async |arrival: Arrival| {
                match &arrival {
                    Arrival::Http1(exchange) => assert_eq!(exchange.member, 0),
                    Arrival::Http2(call) => assert_eq!(call.member, 0),
                    Arrival::Raw(..) => {}
                }
                answer(arrival).await;
            });
            serving.members.peer().set(Reply::members("cafe", &serving.members.list()));
            let deadline = Instant::now() + PATIENCE;
            let mut listed = false;
            while !(listed && serving.members.proofs(1) > 0 && serving.members.proofs(2) > 0) {
                let authorization = "Authorization: Basic cm9vdDpzZWNyZXQ=";
                let mut client = http1::Connection::open(&proxy.address).await.unwrap();
                let put = client.exchange("PUT", "/v2/keys/a", &[authorization], "value=x").await;
                assert_eq!(put.unwrap().status, 200);
                let channel = Channel::open(&proxy.address).await.unwrap();
                let channel = channel.with("token", "secret");
                channel.unary_bytes(PUT, b"x").await.unwrap();
                listed = !proof_of(&proxy, "m2").await.is_empty();
                assert!(Instant::now() < deadline, "{}", proxy.story());
            }
            eventually("it is reported as a foreign member", PATIENCE, async || {
                proof_of(&proxy, "m1").await == "failed"
            })
            .await;
            assert_eq!(proof_of(&proxy, "m2").await, "not yet");
        }
    });
}

#[test]
fn while_all_members_are_new_requests_wait_for_the_first_proof_and_not_for_long() {
    let _machine = shared();
    run(async {
        let members = Members::start(3).await;
        (0..3).for_each(|member| members.hang(member, true));
        let timeout = ["--health-timeout", "700ms"];
        let proxy = start(members.plan().arguments(&timeout)).await;
        let serving = members.serve(answer);
        for path in [RANGE, PUT, WATCH] {
            let begin = Instant::now();
            let channel = Channel::open(&proxy.address).await.unwrap();
            let failure = channel.unary_bytes(path, b"x").await.unwrap_err();
            assert_eq!(failure.to_string(), "status 14: there is no connection available");
            assert!(begin.elapsed() < Duration::from_millis(1900), "{:?}", begin.elapsed());
        }
        let answer = http1::post(&proxy.address, "/v3/kv/put", "{}").await;
        assert_eq!(answer.status, 502);
        serving.members.hang(1, false);
        eventually("the first that proves itself serves", PATIENCE, async || {
            let channel = Channel::open(&proxy.address).await.unwrap();
            channel.unary_bytes(PUT, b"x").await.is_ok_and(|answer| answer == "fine")
        })
        .await;
    });
}

#[test]
fn many_requests_at_once_have_one_proof() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = start(members.plan().arguments(&["--workers", "4"])).await;
        let serving = members.serve(answer);
        let calls: Vec<_> = (0..60)
            .map(|n| {
                let address = proxy.address.clone();
                tokio::spawn(async move {
                    if n % 2 == 0 {
                        return http1::get(&address, "/version").await.status == 200;
                    }
                    let channel = Channel::open(&address).await.unwrap();
                    channel.unary_bytes(PUT, b"x").await.is_ok()
                })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap());
        }
        assert_eq!(serving.members.proofs(0), 1);
    });
}

#[test]
fn the_proof_is_needed_again_once_all_connections_have_closed_and_not_before() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = members.proxy().await;
        let serving = members.serve(answer);
        assert_eq!(serving.members.proofs(0), 1);
        // A connection that was made under the proof is still open, so the member is not asked
        // again, although it would now name another cluster.
        serving.members.claim(0, FOREIGN);
        for _ in 0..3 {
            let channel = Channel::open(&proxy.address).await.unwrap();
            channel.unary_bytes(PUT, b"x").await.unwrap();
            assert_eq!(http1::get(&proxy.address, "/version").await.status, 200);
        }
        assert_eq!(serving.members.proofs(0), 1);
        serving.members.cut(0);
        // The HTTP/1.1 connection is still open and keeps the proof valid.
        assert_eq!(http1::get(&proxy.address, "/version").await.status, 200);
    });
}

#[test]
fn a_member_whose_connections_have_closed_must_prove_itself_again() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let proxy = members.proxy().await;
        let serving = members.serve(answer);
        let channel = Channel::open(&proxy.address).await.unwrap();
        channel.unary_bytes(PUT, b"x").await.unwrap();
        serving.members.claim(0, FOREIGN);
        serving.members.cut(0);
        let failure = channel.unary_bytes(PUT, b"x").await.unwrap_err();
        assert_eq!(failure.code(), Some(14), "{failure}");
        let answer = http1::get(&proxy.address, "/version").await;
        assert_eq!(answer.header("etcd-proxy-reason"), Some("cluster-unproved"), "{answer:?}");
        assert!(proxy.process.wait_for_line("cluster bad answers there", PATIENCE).is_some());
        serving.members.claim(0, CLUSTER);
        eventually("it is trusted again", PATIENCE, async || {
            http1::get(&proxy.address, "/version").await.status == 200
        })
        .await;
        assert_eq!(proof_of(&proxy, "m0").await, "proved");
    });
}

#[test]
fn a_setting_decides_about_members_that_name_no_cluster() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        members.claim(0, 0);
        let patient = ["--health-timeout", "10s"];
        let strict = start(members.plan().arguments(&patient)).await;
        let lenient = ["--require-cluster-proof=false"];
        let lenient = start(members.plan().arguments(&patient).arguments(&lenient)).await;
        let serving = members.serve(answer);
        let refused = http1::get(&strict.address, "/version").await;
        assert_eq!(refused.header("etcd-proxy-reason"), Some("cluster-unproved"), "{refused:?}");
        let (shown, fine) = strict.command(&["status"]);
        assert!(!fine && shown.contains("require-cluster-proof = false"), "{shown}");
        assert_eq!(proof_of(&strict, "m0").await, "failed");

        let channel = Channel::open(&lenient.address).await.unwrap();
        channel.unary_bytes(PUT, b"x").await.unwrap();
        assert_eq!(proof_of(&lenient, "m0").await, "none");
        serving.members.claim(0, FOREIGN);
        serving.members.cut(0);
        eventually("another cluster is refused all the same", PATIENCE, async || {
            proof_of(&lenient, "m0").await == "failed"
        })
        .await;
    });
}

#[test]
fn check_connect_asks_for_the_proof_too() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        members.claim(0, FOREIGN);
        let peers = members.initial_cluster();
        let checked = tokio::task::spawn_blocking(move || {
            let mut command = crate::support::process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
            command.args(["check", "--connect", "--initial-cluster", &peers]);
            crate::support::process::output(command)
        });
        let checked = checked.await.unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(!checked.status.success() && said.contains("cluster bad answers there"), "{said}");
    });
}

/// Starts a server that speaks HTTP/1.1 alone and answers one path with a cluster's ID. Returns its
/// port.
async fn http_only(path: &'static str, answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let first = String::from_utf8_lossy(&seen).lines().next().unwrap().to_owned();
                let said = match first.split(' ').nth(1) {
                    Some(asked) if asked == path => answer,
                    Some("/version") => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
                    Some("*") => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                    _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                };
                stream.write_all(said.as_bytes()).await.unwrap();
                // The proof lasts as long as this connection.
                while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    port
}

#[test]
fn a_port_that_speaks_http_alone_proves_itself_by_http() {
    let _machine = shared();
    run(async {
        // 0xcafe in decimal, as the JSON gateway writes it.
        let gateway =
            "HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"header\":{\"cluster_id\":\"51966\"}}";
        let watch = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                     2d\r\n{\"result\":{\"header\":{\"cluster_id\":\"51966\"}}}\n\r\n";
        let v2 = "HTTP/1.1 200 OK\r\nX-Etcd-Cluster-ID: cafe\r\nContent-Length: 2\r\n\r\n{}";
        let stranger = "HTTP/1.1 200 OK\r\nX-Etcd-Cluster-ID: bad\r\nContent-Length: 2\r\n\r\n{}";
        for (path, answer, status) in [
            ("/v3/kv/range", gateway, 200),
            ("/v3/watch", watch, 200),
            ("/v2/members", v2, 200),
            ("/v2/members", stranger, 503),
            ("/none", v2, 503),
        ] {
            let member = http_only(path, answer).await;
            let list = format!(
                "[{{\"id\":1,\"peerURLs\":[],\"name\":\"m0\",\"clientURLs\":[\"http://127.0.0.1:{member}\"]}}]"
            );
            let peer = Peer::start(Reply::members("cafe", &list));
            let plan = Proxy::with_peers(&format!("m0={}", peer.url));
            let proxy = start(plan.arguments(&["--health-interval", "0"])).await;
            let answer = http1::get(&proxy.address, "/version").await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
        }
    });
}
