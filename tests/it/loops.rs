//! A request that comes back to a proxy it has already passed is refused at its first return.

use std::time::Duration;

use crate::support::grpc::Channel;
use crate::support::http1;
use crate::support::members::{Members, start};
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::Proxy;
use crate::support::rpc::{PUT, RANGE, WATCH};
use crate::support::{PATIENCE, eventually, run, shared};

/// Starts a peer whose only member has this client URL.
fn peer_of(url: &str) -> Peer {
    let member = format!("{{\"id\":1,\"peerURLs\":[],\"name\":\"me\",\"clientURLs\":[\"{url}\"]}}");
    Peer::start(Reply::members("cafe", &format!("[{member}]\n")))
}

#[test]
fn a_member_that_advertises_the_proxy_itself_gets_no_traffic() {
    let _machine = shared();
    run(async {
        for host in ["127.0.0.1", "localhost"] {
            let peer = peer_of("http://127.0.0.1:1");
            let plan = Proxy::with_peers(&format!("me={}", peer.url));
            let port = plan.address().rsplit(':').next().unwrap().to_owned();
            let member = format!(
                "[{{\"id\":1,\"peerURLs\":[],\"name\":\"me\",\"clientURLs\":[\"http://{host}:{port}\"]}}]"
            );
            peer.set(Reply::members("cafe", &member));
            let proxy = plan.spawn();
            assert!(proxy.process.wait_for_line("client URL gets no traffic", PATIENCE).is_some());
            // Nothing is served, and STATUS, `status` and the answers all say so.
            let waiting =
                "waiting for members: the member list names no client URL that can be used";
            eventually("STATUS", PATIENCE, async || {
                proxy.notify.statuses().iter().any(|status| status == waiting)
            })
            .await;
            assert_eq!(proxy.notify.wait_for("READY=1", Duration::ZERO), None);
            assert_eq!(proxy.exit_status(&["status"]).0, 5);
            let answer = http1::get(&proxy.address, "/version").await;
            assert_eq!(answer.status, 503);
            let said = "httpproxy: zero endpoints currently available";
            assert_eq!(answer.json()["message"], said);
            let answer = http1::post(&proxy.address, "/v3/kv/range", "{}").await;
            assert_eq!((answer.status, answer.json()["code"].as_u64()), (503, Some(14)));
            let channel = Channel::open(&proxy.address).await.unwrap();
            let failure = channel.unary_bytes(PUT, b"").await.unwrap_err();
            assert_eq!(failure.to_string(), "status 14: there is no connection available");
        }
    });
}

#[test]
fn two_proxies_in_a_circle_refuse_a_request_at_its_first_return() {
    let _machine = shared();
    run(async {
        // At first both have a real member too, so that each can prove its cluster to the other.
        let members = Members::start(1).await;
        let (to_one, to_other) = (peer_of("http://127.0.0.1:1"), peer_of("http://127.0.0.1:1"));
        let arguments = ["--health-interval", "0", "--proxy-refresh-interval", "100"];
        let one = Proxy::with_peers(&format!("me={}", to_other.url)).arguments(&arguments);
        let other = Proxy::with_peers(&format!("me={}", to_one.url)).arguments(&arguments);
        let member = |id: u8, address: &str| {
            format!(
                "{{\"id\":{id},\"peerURLs\":[],\"name\":\"m{id}\",\"clientURLs\":[\"http://{address}\"]}}"
            )
        };
        let [to_the_one, to_the_other] = [one.address(), other.address()].map(|it| member(1, &it));
        let real = member(2, &members.address(0));
        to_one.set(Reply::members("cafe", &format!("[{to_the_one},{real}]")));
        to_other.set(Reply::members("cafe", &format!("[{to_the_other},{real}]")));
        let (one, other) = (start(one).await, start(other).await);
        for proxy in [&one, &other] {
            until(proxy, |members| {
                members.len() == 2
                    && members.iter().all(|it| it["endpoints"][0]["proof"] == "proved")
            })
            .await;
        }
        to_one.set(Reply::members("cafe", &format!("[{to_the_one}]")));
        to_other.set(Reply::members("cafe", &format!("[{to_the_other}]")));
        for proxy in [&one, &other] {
            until(proxy, |members| members.len() == 1).await;
        }
        let answer = http1::get(&one.address, "/version").await;
        assert_eq!(answer.status, 508, "{answer:?}");
        let answer = http1::post(&one.address, "/v3/kv/put", "{}").await;
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (508, Some(9)));
        let channel = Channel::open(&other.address).await.unwrap();
        for path in [RANGE, PUT, WATCH] {
            let failure = channel.unary_bytes(path, b"").await.unwrap_err();
            assert_eq!(failure.code(), Some(9), "{path}: {failure}");
        }
        let refused = |page: &str| {
            let line = page.lines().find(|line| line.starts_with("etcd_proxy_loop_refused_total"));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        };
        let page = http1::get(&one.address, "/metrics").await.text();
        assert_eq!(refused(&page), Some(2), "{page}");
        let page = http1::get(&other.address, "/metrics").await.text();
        assert_eq!(refused(&page), Some(3), "{page}");
    });
}

#[test]
fn two_proxies_that_know_only_each_other_send_nothing_round() {
    let _machine = shared();
    run(async {
        let (to_one, to_other) = (peer_of("http://127.0.0.1:1"), peer_of("http://127.0.0.1:1"));
        let one = Proxy::with_peers(&format!("me={}", to_other.url));
        let other = Proxy::with_peers(&format!("me={}", to_one.url));
        let list = |address: String| {
            let urls = format!("\"peerURLs\":[],\"clientURLs\":[\"http://{address}\"]");
            Reply::members("cafe", &format!("[{{\"id\":1,\"name\":\"me\",{urls}}}]"))
        };
        to_one.set(list(one.address()));
        to_other.set(list(other.address()));
        let (one, other) = (start(one).await, start(other).await);
        for proxy in [&one, &other] {
            let begin = std::time::Instant::now();
            let answer = http1::post(&proxy.address, "/v3/kv/put", "{}").await;
            assert_eq!((answer.status, answer.json()["code"].as_u64()), (503, Some(14)));
            assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
        }
    });
}

/// Waits until the daemon's members satisfy the condition.
async fn until(proxy: &Proxy, are_so: impl Fn(&[serde_json::Value]) -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let status = http1::get(&proxy.address, "/proxy/status").await.json();
        if status["members"].as_array().is_some_and(|members| are_so(members)) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
