//! Member lists that no real cluster has: too long, of the maximum length, and with addresses that
//! no member can have. The cluster and its ID are real, and the peer that lists it is scripted.

use std::time::{Duration, Instant};

use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::http1;
use crate::support::meter::processor_ms;
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::{Plan, Proxy};
use crate::support::{run, shared, wait_until};

const GENERATION: Generation = Generation::V3_5;

/// Returns the ID and the member list of a cluster, as its first peer reports them.
fn told(cluster: &Cluster) -> (String, Vec<serde_json::Value>) {
    let peer = cluster.peer_url(0);
    let address = peer.trim_start_matches("http://").to_owned();
    let answer = run(async { http1::get(&address, "/members").await });
    let id = answer.header("x-etcd-cluster-id").expect("a cluster ID").to_owned();
    (id, answer.json().as_array().expect("members").clone())
}

/// Returns a member with these client URLs that does not exist.
fn absent(id: u64, urls: &[String]) -> serde_json::Value {
    serde_json::json!({ "id": id, "name": format!("absent{id}"), "peerURLs": [], "clientURLs": urls })
}

fn proxy(peer: &Peer) -> Plan {
    let often = ["--proxy-refresh-interval", "200", "--health-interval", "500"];
    Proxy::with_peers(&format!("a={}", peer.url)).arguments(&often)
}

fn members(proxy: &Proxy) -> usize {
    proxy.status()["members"].as_array().map_or(0, Vec::len)
}

/// Returns how long `status` takes, which asks on the admin socket.
fn status_takes(proxy: &Proxy) -> Duration {
    let begin = Instant::now();
    assert!(proxy.command(&["status", "-w", "json"]).0.contains("\"version\""));
    begin.elapsed()
}

#[test]
fn a_list_of_two_thousand_members_is_refused_and_requests_go_on() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 1);
    let (id, mut list) = told(&cluster);
    let say =
        |list: &[serde_json::Value]| Reply::members(&id, &serde_json::json!(list).to_string());
    let peer = Peer::start(say(&list));
    let proxy = proxy(&peer).start();
    proxy.etcdctl(GENERATION).run(&["put", "before", "1"]);
    list.extend((1..2000).map(|id| absent(id, &[format!("http://127.0.0.1:{}", 10_000 + id)])));
    peer.set(say(&list));
    wait_until("the list is refused", || {
        let error = proxy.status()["peers"][0]["error"].to_string();
        error.contains("it has 2000 members; at most 128 are accepted")
    });
    let (begin, used) = (Instant::now(), processor_ms(proxy.process.pid()));
    for number in 0..10 {
        proxy.etcdctl(GENERATION).run(&["put", "after", &number.to_string()]);
    }
    assert_eq!(members(&proxy), 1);
    assert!(status_takes(&proxy) < Duration::from_secs(1));
    let used = processor_ms(proxy.process.pid()) - used;
    let passed = begin.elapsed().as_millis() as u64;
    assert!(used < passed / 2 + 100, "{used} ms of {passed} ms");
    // `status` reports the refused list until the peer gives a shorter one.
    assert!(!proxy.command(&["status"]).1);
    list.truncate(1);
    peer.set(say(&list));
    wait_until("all is well", || proxy.command(&["status"]).1);
}

#[test]
fn the_largest_list_that_is_taken_keeps_nobody_waiting() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 1);
    let (id, mut list) = told(&cluster);
    let urls = |member: u64| {
        let url = move |nth| format!("http://127.1.{member}.{nth}:1");
        (1..=16).map(url).collect::<Vec<_>>()
    };
    list.extend((1..128).map(|member| absent(member, &urls(member))));
    let peer = Peer::start(Reply::members(&id, &serde_json::json!(list).to_string()));
    // No refresh comes to help. A request tries only some of the URLs, and the real member's may be
    // the last, so the probes must find it.
    let plan = Proxy::with_peers(&format!("a={}", peer.url));
    let proxy = plan.arguments(&["--health-interval", "500"]).start();
    wait_until("only the real member is healthy", || {
        let status = proxy.status();
        let members = status["members"].as_array().expect("members").clone();
        let healthy = members
            .iter()
            .flat_map(|member| member["endpoints"].as_array().cloned().unwrap_or_default());
        healthy.filter(|endpoint| endpoint["healthy"] == true).count() == 1
    });
    let (begin, used) = (Instant::now(), processor_ms(proxy.process.pid()));
    for number in 0..10 {
        proxy.etcdctl(GENERATION).run(&["put", "among", &number.to_string()]);
        // One second on a quiet machine. This build is not optimised, and other tests run beside
        // it.
        assert!(status_takes(&proxy) < Duration::from_secs(3));
    }
    let used = processor_ms(proxy.process.pid()) - used;
    eprintln!("{used} ms of processor in {:?}", begin.elapsed());
    assert_eq!(members(&proxy), 128);
}

#[test]
fn what_no_member_can_have_is_not_dialled_in_any_spelling() {
    let _machine = shared();
    if !GENERATION.is_here() {
        return;
    }
    let cluster = Cluster::start(GENERATION, 1);
    let (id, mut list) = told(&cluster);
    let hosts = [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "0.0.0.0",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "0",
    ];
    let url = |host: &&str| format!("http://{host}:2379");
    list.push(absent(1, &hosts.iter().map(url).collect::<Vec<_>>()));
    let peer = Peer::start(Reply::members(&id, &serde_json::json!(list).to_string()));
    let proxy = proxy(&peer).start();
    let refused = || {
        let status = proxy.status();
        let all = status["members"].as_array().expect("members").clone();
        let absent = all.iter().find(|member| member["name"] == "absent1").expect("listed").clone();
        let endpoints = absent["endpoints"].as_array().expect("endpoints").clone();
        let reasons = endpoints.iter().map(|endpoint| endpoint["reason"].to_string());
        reasons.filter(|reason| reason.contains("no listed member can have")).count()
    };
    wait_until("each of them has its reason", || refused() == hosts.len());
    proxy.etcdctl(GENERATION).run(&["put", "beside", "them"]);
}
