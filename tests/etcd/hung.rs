//! Members that are stopped while requests wait for them.

use std::time::{Duration, Instant};

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::grpc::{Channel, Failure};
use crate::support::load::base64;
use crate::support::proxy::Proxy;
use crate::support::rpc::{self, Done, PutRequest, RangeRequest, WatchRequest, WatchResponse};
use crate::support::{PATIENCE, eventually, http1, run, shared};

on_each_generation!(
    writes_in_flight_to_a_stopped_member_are_answered_and_not_repeated,
    a_write_waits_for_a_member_that_has_lost_its_quorum,
    a_watch_that_leaves_a_stopped_leader_lands_where_a_leader_is_known,
);

fn json_put(key: &str) -> String {
    let key = base64(key.as_bytes());
    format!("{{\"key\":\"{key}\",\"value\":\"{key}\"}}")
}

fn writes_in_flight_to_a_stopped_member_are_answered_and_not_repeated(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 1);
    let often = Proxy::before(&cluster).start();
    let never = Proxy::before(&cluster).arguments(&["--health-interval", "0"]).start();
    let address = |which: usize| if which == 0 { &often.address } else { &never.address };
    let begin = run(async {
        // The connections exist before the stop, since a stopped member gets no write on a new one.
        let mut channels = Vec::new();
        for which in [0, 1] {
            assert_eq!(http1::get(address(which), "/version").await.status, 200);
            let channel = Channel::open(address(which)).await.expect("a connection");
            channel.unary::<Done>(rpc::RANGE, &RangeRequest::key("hung")).await.expect("a read");
            channels.push(channel);
        }
        cluster.pause(0);
        let begin = Instant::now();
        let json = async |which: usize| {
            let body = json_put(&format!("hung/json/{which}"));
            let answer = http1::post(address(which), "/v3/kv/put", &body).await;
            assert_eq!((answer.status, answer.json()["code"].as_u64()), (502, Some(14)));
            assert!(!answer.text().contains("available"), "{}", answer.text());
        };
        let grpc = async |which: usize| {
            let put = PutRequest::new(&format!("hung/grpc/{which}"), "x");
            let failure =
                channels[which].unary::<Done>(rpc::PUT, &put).await.expect_err("no answer");
            assert_eq!(failure.code(), Some(14), "{failure}");
            assert!(!failure.to_string().contains("available"), "{failure}");
        };
        let v2 = async |which: usize| {
            let path = format!("/v2/keys/hung/{which}");
            let answer = http1::request(address(which), "POST", &path, "value=x").await;
            assert_eq!(answer.expect("an answer").status, 502);
        };
        tokio::join!(json(0), grpc(0), v2(0), json(1), grpc(1), v2(1));
        begin
    });
    let took = begin.elapsed();
    println!("answered within {took:?}");
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(15), "{took:?}");
    cluster.resume(0);
    let etcdctl = cluster.etcdctl();
    for key in ["hung/json/0", "hung/json/1", "hung/grpc/0", "hung/grpc/1"] {
        let found = etcdctl.run(&["get", key, "-w", "json"]);
        assert!(!found.contains("\"version\":2"), "{key} was written twice: {found}");
    }
}

fn a_write_waits_for_a_member_that_has_lost_its_quorum(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 3);
    let proxy = Proxy::before(&cluster).start();
    cluster.pause(0);
    cluster.pause(1);
    run(async {
        // Nothing is probed before somebody waits.
        let channel = Channel::open(&proxy.address).await.expect("a connection");
        let reads = async {
            loop {
                let _ = channel.unary_bytes(rpc::RANGE, b"").await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = eventually("no member is healthy", PATIENCE, async || {
            let endpoints = http1::get(&proxy.address, "/v2/config/local/proxy").await.json();
            endpoints["endpoints"].as_array().is_some_and(Vec::is_empty)
        });
        tokio::select! {
            () = found => {}
            () = reads => unreachable!("they go on"),
        }
        let put = PutRequest::new("hung/quorum", "x");
        let grpc = channel.unary::<Done>(rpc::PUT, &put);
        let body = json_put("hung/quorum");
        let json = http1::post(&proxy.address, "/v3/kv/put", &body);
        let (grpc, json) = tokio::join!(grpc, json);
        // etcd's own message, after its own timeout of 7 s.
        let failure = grpc.expect_err("no quorum");
        let known = ["etcdserver: request timed out", "context deadline exceeded"];
        for text in [failure.to_string(), json.text()] {
            assert!(known.iter().any(|known| text.contains(known)), "{text}");
        }
    });
}

/// Watches until the watch ends. Returns the failure that ended it; `None` if `until_created` is
/// set and it was created.
async fn watch(channel: &Channel, until_created: bool) -> Option<Failure> {
    let mut call = channel.call(rpc::WATCH).await.expect("a call");
    call.send(&WatchRequest::prefix("hung/watched", 0)).expect("sent");
    loop {
        match call.next::<WatchResponse>().await {
            Ok(Some(answer)) if answer.canceled => {
                return Some(Failure::Broken(answer.cancel_reason));
            }
            Ok(Some(answer)) if answer.created && until_created => return None,
            Ok(Some(_)) => {}
            Ok(None) => return Some(Failure::Broken("a clean end".into())),
            Err(failure) => return Some(failure),
        }
    }
}

fn a_watch_that_leaves_a_stopped_leader_lands_where_a_leader_is_known(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 3);
    let proxy = Proxy::before(&cluster).start();
    run(async {
        let channel = Channel::open(&proxy.address).await.expect("a connection");
        let channel = channel.with("hasleader", "true");
        let watching = channel.clone();
        let mut watched = tokio::spawn(async move { watch(&watching, false).await });
        let mut member = None;
        eventually("the watch is with a member", PATIENCE, async || {
            let status = http1::get(&proxy.address, "/proxy/status").await.json();
            member = busy_member(&status);
            member.is_some()
        })
        .await;
        let (id, url) = member.expect("a member");
        let index = (0..3).find(|index| url.ends_with(&cluster.client(*index))).expect("one");
        let leader = cluster.leader();
        if leader != index {
            cluster.etcdctl_of(leader).run(&["move-leader", &id]);
        }
        cluster.pause(index);
        let ended = (&mut watched).await.expect("a task");
        assert_eq!(ended.as_ref().and_then(Failure::code), Some(14), "{ended:?}");
        // Tries again at once, as Go's clients do.
        let mut refused = 0;
        while let Some(failure) = watch(&channel, true).await {
            refused += 1;
            assert!(refused < 20, "{failure}");
        }
        println!("{refused} watches were refused before one was created");
        assert!(refused <= 2, "{refused} watches went to members without a leader");
    });
}

/// Returns the ID and URL of a member with a request in flight.
fn busy_member(status: &serde_json::Value) -> Option<(String, String)> {
    for member in status["members"].as_array()? {
        for endpoint in member["endpoints"].as_array()? {
            if endpoint["in_flight"].as_u64() > Some(0) {
                let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
                return Some((text(&member["id"])?, text(&endpoint["url"])?));
            }
        }
    }
    None
}
