//! The v2 API through the daemon, with etcdctl and as plain HTTP.

use std::time::{Duration, Instant};

use crate::fixture::{Fixture, on_generations_with_v2};
use crate::support::generation::Generation;
use crate::support::http1::{self, Connection};
use crate::support::{PATIENCE, run, shared};

on_generations_with_v2!(
    etcdctl_sets_gets_lists_and_removes,
    etcdctl_watches_a_key,
    keys_made_in_order_are_made_once_each,
    a_wait_has_its_head_at_once_and_its_event_when_it_comes,
    a_stream_brings_each_event_as_it_comes,
    a_compare_and_swap_fails_with_etcds_own_words,
    a_member_answers_what_is_not_a_key,
);

fn etcdctl_sets_gets_lists_and_removes(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).proxy.etcdctl_v2(generation);
    assert_eq!(etcdctl.run(&["set", "/v2/a", "one"]), "one\n");
    assert_eq!(etcdctl.run(&["get", "/v2/a"]), "one\n");
    assert_eq!(etcdctl.run(&["update", "/v2/a", "two"]), "two\n");
    assert!(etcdctl.run(&["ls", "/v2"]).contains("/v2/a\n"));
    let again = etcdctl.try_run(&["mk", "/v2/a", "three"]).expect_err("it exists");
    assert!(again.contains("Key already exists"), "{again}");
    etcdctl.run(&["rm", "/v2/a"]);
    let gone = etcdctl.try_run(&["get", "/v2/a"]).expect_err("it is gone");
    assert!(gone.contains("Key not found"), "{gone}");
}

fn etcdctl_watches_a_key(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let etcdctl = fixture.proxy.etcdctl_v2(generation);
    etcdctl.run(&["set", "/v2/watched", "before"]);
    let index = run(async { http1::get(&fixture.proxy.address, "/v2/keys/v2/watched").await });
    let after = index.json()["node"]["modifiedIndex"].as_u64().expect("an index") + 1;
    let watch = etcdctl.start(&["watch", "--after-index", &(after - 1).to_string(), "/v2/watched"]);
    etcdctl.run(&["set", "/v2/watched", "after"]);
    assert!(watch.wait_for_line("after", PATIENCE).is_some(), "{}", watch.tail());
}

fn keys_made_in_order_are_made_once_each(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        for number in 0..10 {
            let made =
                http1::form(address, "POST", "/v2/keys/queue", &format!("value={number}")).await;
            assert_eq!(made.status, 201, "{made:?}");
        }
        let list = http1::get(address, "/v2/keys/queue?recursive=true&sorted=true").await.json();
        let nodes = list["node"]["nodes"].as_array().expect("nodes").clone();
        let values: Vec<_> =
            nodes.iter().map(|node| node["value"].as_str().expect("a value")).collect();
        assert_eq!(values, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    });
}

fn a_wait_has_its_head_at_once_and_its_event_when_it_comes(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let mut waiting = Connection::open(address).await.expect("a connection");
        let begin = Instant::now();
        waiting.send_request("GET", "/v2/keys/wait?wait=true", &[], "").await.expect("sent");
        let head = waiting.head().await.expect("a head");
        assert!(begin.elapsed() < Duration::from_secs(1), "the head took {:?}", begin.elapsed());
        assert!(head.header("x-etcd-index").is_some(), "{head:?}");
        http1::form(address, "PUT", "/v2/keys/wait", "value=here").await;
        let event = waiting.body(&head).await.expect("an event");
        assert!(String::from_utf8_lossy(&event).contains("\"value\":\"here\""));
    });
}

fn a_stream_brings_each_event_as_it_comes(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        let mut stream = Connection::open(address).await.expect("a connection");
        let path = "/v2/keys/stream?wait=true&stream=true&recursive=true";
        stream.send_request("GET", path, &[], "").await.expect("sent");
        assert_eq!(stream.head().await.expect("a head").status, 200);
        for number in 0..20 {
            http1::form(address, "PUT", "/v2/keys/stream/a", &format!("value=v{number}.")).await;
            let chunk = stream.chunk().await.expect("a chunk").expect("no end");
            let text = String::from_utf8_lossy(&chunk).into_owned();
            assert!(text.contains(&format!("\"value\":\"v{number}.\"")), "{text}");
        }
    });
}

fn a_compare_and_swap_fails_with_etcds_own_words(generation: Generation) {
    let _machine = shared();
    let address = &Fixture::shared(generation).proxy.address;
    run(async {
        http1::form(address, "PUT", "/v2/keys/cas", "value=is").await;
        let failed = http1::form(address, "PUT", "/v2/keys/cas?prevValue=was", "value=new").await;
        assert_eq!(failed.status, 412);
        assert_eq!(failed.json()["errorCode"], 101);
        assert!(failed.header("x-etcd-index").is_some(), "{failed:?}");
        let deleted = http1::request(address, "DELETE", "/v2/keys/cas?prevValue=is", "").await;
        assert_eq!(deleted.expect("an answer").status, 200);
        let mut connection = Connection::open(address).await.expect("a connection");
        let head = connection.exchange("HEAD", "/v2/keys/cas", &[], "").await.expect("an answer");
        assert_eq!((head.status, head.body.len()), (404, 0));
    });
}

fn a_member_answers_what_is_not_a_key(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    run(async {
        let address = &fixture.proxy.address;
        let machines = http1::get(address, "/v2/machines").await.text();
        assert!(machines.contains(&fixture.cluster.client(0)), "{machines}");
        let members = http1::get(address, "/v2/members").await.json();
        assert_eq!(members["members"].as_array().expect("members").len(), 3);
        assert_eq!(http1::get(address, "/v2/stats/self").await.status, 200);
        let version = http1::get(address, "/version").await.json();
        let server = version["etcdserver"].as_str().expect("a version").to_owned();
        assert!(server.starts_with(generation.number()));
    });
}
