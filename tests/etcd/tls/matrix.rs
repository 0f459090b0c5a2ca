//! etcdctl of both APIs and the JSON gateway, through every combination of TLS.

use super::TlsFixture;
use crate::fixture::{on_each_generation, on_generations_with_v2};
use crate::support::generation::Generation;
use crate::support::grpc::Channel;
use crate::support::http1::Connection;
use crate::support::load::base64;
use crate::support::rpc::{self, RangeRequest, RangeResponse};
use crate::support::{PATIENCE, run, shared};

on_each_generation!(
    etcdctl_reads_writes_watches_and_locks,
    the_json_gateway_answers_and_its_watch_brings_events,
    one_connection_carries_many_calls,
);

on_generations_with_v2!(etcdctl_v2_reads_writes_and_watches);

fn etcdctl_reads_writes_watches_and_locks(generation: Generation) {
    let _machine = shared();
    for way in TlsFixture::shared(generation).ways() {
        let etcdctl = way.etcdctl(generation);
        let key = format!("matrix/{}", way.name);
        let watch = etcdctl.start(&["watch", &key]);
        // The watch exists once it sees a write; nothing else tells when it was created.
        let begin = std::time::Instant::now();
        loop {
            etcdctl.run(&["put", &key, "value"]);
            if watch.wait_for_line("value", std::time::Duration::from_millis(300)).is_some() {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{}: no event; {}", way.name, watch.tail());
        }
        assert_eq!(etcdctl.run(&["get", "--print-value-only", &key]), "value\n", "{}", way.name);
        let lease = etcdctl.run(&["lease", "grant", "60"]);
        assert!(lease.contains("granted"), "{}: {lease}", way.name);
        let locked = etcdctl.run(&["lock", &key, "true"]);
        assert!(locked.is_empty(), "{}: {locked}", way.name);
    }
}

fn etcdctl_v2_reads_writes_and_watches(generation: Generation) {
    let _machine = shared();
    for way in TlsFixture::shared(generation).ways() {
        let etcdctl = way.etcdctl_v2(generation);
        etcdctl.run(&["set", "/matrix/v2", way.name]);
        assert_eq!(etcdctl.run(&["get", "/matrix/v2"]).trim(), way.name);
        let listed = etcdctl.run(&["ls", "/matrix"]);
        assert!(listed.contains("/matrix/v2"), "{}: {listed}", way.name);
    }
}

fn the_json_gateway_answers_and_its_watch_brings_events(generation: Generation) {
    let _machine = shared();
    for way in TlsFixture::shared(generation).ways() {
        let key = base64(format!("json/{}", way.name).as_bytes());
        let put = format!("{{\"key\":\"{key}\",\"value\":\"{key}\"}}");
        run(async {
            let open = || Connection::open_by(&way.dialer, &way.proxy.address);
            let mut watch = open().await.expect("a connection");
            let create = format!("{{\"create_request\":{{\"key\":\"{key}\"}}}}");
            watch.send_request("POST", "/v3/watch", &[], &create).await.expect("sent");
            let head = watch.head().await.expect("a head");
            assert_eq!(head.status, 200, "{}", way.name);
            watch.chunk().await.expect("a chunk").expect("no end");
            let mut writer = open().await.expect("a connection");
            let answer = writer.exchange("POST", "/v3/kv/put", &[], &put).await.expect("answer");
            assert_eq!(answer.status, 200, "{}: {}", way.name, answer.text());
            let mut event = String::new();
            while !event.contains(&key) {
                let chunk = watch.chunk().await.expect("a chunk").expect("no end");
                event.push_str(&String::from_utf8_lossy(&chunk));
            }
            let version = writer.exchange("GET", "/version", &[], "").await.expect("answer");
            assert!(version.text().contains("etcdserver"), "{}: {}", way.name, version.text());
        });
    }
}

fn one_connection_carries_many_calls(generation: Generation) {
    let _machine = shared();
    for way in TlsFixture::shared(generation).ways() {
        let large = "x".repeat(200_000);
        way.etcdctl(generation).run_with_input(&["put", "many/large"], &large);
        run(async {
            let open = Channel::open_by(&way.dialer, &way.proxy.address);
            let channel = open.await.expect("a connection");
            for number in 0..50 {
                let request = RangeRequest::key("many/large");
                let answer = channel.unary::<RangeResponse>(rpc::RANGE, &request).await;
                let answer = answer.unwrap_or_else(|e| panic!("{} {number}: {e}", way.name));
                assert_eq!(answer.kvs[0].value.len(), large.len(), "{}", way.name);
            }
        });
    }
}
