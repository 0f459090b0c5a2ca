//! The daemon starts before the cluster.

use std::time::{Duration, Instant};

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::grpc::{Channel, Failure};
use crate::support::proxy::Proxy;
use crate::support::rpc::{self, PutRequest, RangeResponse};
use crate::support::{PATIENCE, http1, run, shared};

on_each_generation!(
    before_the_cluster_is_there_it_answers_503_and_is_not_ready,
    it_is_ready_within_two_seconds_of_the_first_member,
);

fn before_the_cluster_is_there_it_answers_503_and_is_not_ready(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::planned(generation, 3);
    let proxy = Proxy::before(&cluster).spawn();
    run(async {
        proxy.wait_until_open().await;
        let answer = http1::get(&proxy.address, "/v2/keys/a").await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.text().trim_end(),
            "{\"message\":\"httpproxy: zero endpoints currently available\"}"
        );
        let answer = http1::post(&proxy.address, "/v3/kv/range", "{\"key\":\"YQ==\"}").await;
        assert_eq!((answer.status, &answer.json()["code"]), (503, &14.into()));
        let channel = Channel::open(&proxy.address).await.expect("a connection");
        let failure = channel.unary::<RangeResponse>(rpc::PUT, &PutRequest::new("a", "b")).await;
        // On this message etcd's clients send even a write again.
        let message = "there is no connection available".to_owned();
        assert_eq!(failure, Err(Failure::Status { code: 14, message }));
    });
    // The peers are asked a second time, and the daemon is still not ready.
    std::thread::sleep(Duration::from_millis(1500));
    let heard = proxy.notify.heard();
    assert!(!heard.contains(&"READY=1".to_owned()), "{heard:?}");
    assert!(heard.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{heard:?}");
    let status = proxy.notify.statuses().pop().expect("a status line");
    let peer = cluster.peer_url(0);
    assert!(
        status.contains(&peer) || status.contains(peer.trim_start_matches("http://")),
        "{status}"
    );
    cluster.start_all();
    let cluster_ready = Instant::now();
    let ready = proxy.wait_until_ready();
    assert!(ready < cluster_ready + Duration::from_secs(2));
    proxy.etcdctl(generation).run(&["put", "started", "late"]);
}

fn it_is_ready_within_two_seconds_of_the_first_member(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::planned(generation, 1);
    let proxy = Proxy::before(&cluster).spawn();
    run(proxy.wait_until_open());
    let member = cluster.start_member(0);
    let member_ready = member.wait_for("READY=1", PATIENCE).expect("the member gets ready");
    let ready = proxy.wait_until_ready();
    println!("ready {:?} after the member", ready.saturating_duration_since(member_ready));
    assert!(ready < member_ready + Duration::from_secs(2));
    proxy.etcdctl(generation).run(&["put", "started", "early"]);
}
