//! A way that leads back to where it came from is refused at its first return.

use crate::support::grpc::Channel;
use crate::support::http1;
use crate::support::members::start;
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::Proxy;
use crate::support::rpc::{PUT, RANGE, WATCH};
use crate::support::{PATIENCE, beside_others, run};

/// A peer whose only member has this client URL.
fn peer_of(url: &str) -> Peer {
    let member = format!("{{\"id\":1,\"peerURLs\":[],\"name\":\"me\",\"clientURLs\":[\"{url}\"]}}");
    Peer::start(Reply::members("cafe", &format!("[{member}]\n")))
}

#[test]
fn a_member_that_advertises_the_proxy_itself_gets_no_traffic() {
    let _beside = beside_others();
    run(async {
        for host in ["127.0.0.1", "localhost"] {
            let peer = peer_of("http://127.0.0.1:1");
            let plan = Proxy::with_peers(&format!("me={}", peer.url));
            let port = plan.address().rsplit(':').next().unwrap().to_owned();
            let member = format!(
                "[{{\"id\":1,\"peerURLs\":[],\"name\":\"me\",\"clientURLs\":[\"http://{host}:{port}\"]}}]"
            );
            peer.set(Reply::members("cafe", &member));
            let proxy = start(plan).await;
            assert!(proxy.process.wait_for_line("client URL gets no traffic", PATIENCE).is_some());
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
    let _beside = beside_others();
    run(async {
        let (to_one, to_other) = (peer_of("http://127.0.0.1:1"), peer_of("http://127.0.0.1:1"));
        let one = Proxy::with_peers(&format!("me={}", to_other.url));
        let other = Proxy::with_peers(&format!("me={}", to_one.url));
        let off = ["--health-interval", "0"];
        let (one, other) = (one.arguments(&off), other.arguments(&off));
        let list = |address: String| {
            Reply::members(
                "cafe",
                &format!(
                    "[{{\"id\":1,\"peerURLs\":[],\"name\":\"me\",\"clientURLs\":[\"http://{address}\"]}}]"
                ),
            )
        };
        to_one.set(list(one.address()));
        to_other.set(list(other.address()));
        let one = start(one).await;
        let other = start(other).await;
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
