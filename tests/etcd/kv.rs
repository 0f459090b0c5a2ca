//! etcdctl's everyday commands through the daemon.

use crate::fixture::{Fixture, on_each_generation};
use crate::support::generation::Generation;
use crate::support::raw_http2::{RawHttp2, text};
use crate::support::rpc::PUT;
use crate::support::{run, shared};

on_each_generation!(
    a_value_put_is_got_and_deleted,
    many_keys_come_in_order_and_in_pages,
    a_transaction_takes_the_branch_that_its_compare_says,
    a_value_of_a_megabyte_comes_back_whole,
    a_put_of_etcd_s_client_3_5_0_is_done,
);

fn a_value_put_is_got_and_deleted(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    assert_eq!(etcdctl.run(&["put", "kv/a", "one"]), "OK\n");
    assert_eq!(etcdctl.run(&["get", "kv/a"]), "kv/a\none\n");
    assert_eq!(etcdctl.run(&["del", "kv/a"]), "1\n");
    assert_eq!(etcdctl.run(&["get", "kv/a"]), "");
}

fn many_keys_come_in_order_and_in_pages(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    for key in ["kv/many/c", "kv/many/a", "kv/many/b"] {
        etcdctl.run(&["put", key, "x"]);
    }
    let keys = etcdctl.run(&["get", "--prefix", "--keys-only", "kv/many/"]);
    assert_eq!(keys, "kv/many/a\n\nkv/many/b\n\nkv/many/c\n\n");
    let first = etcdctl.run(&["get", "--prefix", "--limit=1", "--print-value-only", "kv/many/"]);
    assert_eq!(first, "x\n");
    let last = etcdctl.run(&["get", "--prefix", "--order=DESCEND", "--limit=1", "kv/many/"]);
    assert_eq!(last, "kv/many/c\nx\n");
    assert_eq!(etcdctl.run(&["del", "--prefix", "kv/many/"]), "3\n");
}

fn a_transaction_takes_the_branch_that_its_compare_says(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    etcdctl.run(&["put", "kv/txn", "before"]);
    let script = "value(\"kv/txn\") = \"before\"\n\nput kv/txn after\nget kv/txn\n\nget kv/txn\n\n";
    let first = etcdctl.run_with_input(&["txn"], script);
    assert!(first.contains("SUCCESS") && first.contains("after"), "{first}");
    let second = etcdctl.run_with_input(&["txn"], script);
    assert!(second.contains("FAILURE") && second.contains("after"), "{second}");
}

fn a_value_of_a_megabyte_comes_back_whole(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let value: String = ('a'..='z').cycle().take(1_000_000).collect();
    assert_eq!(etcdctl.run_with_input(&["put", "kv/large"], &value), "OK\n");
    let got = etcdctl.run(&["get", "--print-value-only", "kv/large"]);
    assert_eq!(got.trim_end_matches('\n').len(), value.len());
    assert!(got.trim_end_matches('\n') == value, "the value came back changed");
}

/// This client sends its list of endpoints as the authority (client/v3 3.5.0, `internal/resolver`).
fn a_put_of_etcd_s_client_3_5_0_is_done(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let put = [&b"\x0a\x0ckv/authority\x12"[..], &[3], b"one"].concat();
    let listed = [&[0x41], &text(b"#initially=[127.0.0.1:2379;127.0.0.1:22379]")[..]].concat();
    for authority in [&listed[..], &[0x81]] {
        let answer = run(async {
            let mut client = RawHttp2::open(&fixture.proxy.address).await;
            client.call(1, PUT, authority, &put).await
        });
        assert!(answer.is_ok_and(|body| body.len() > 5), "a message with a header came back");
        let etcdctl = fixture.etcdctl();
        assert_eq!(etcdctl.run(&["get", "--print-value-only", "kv/authority"]), "one\n");
        etcdctl.run(&["del", "kv/authority"]);
    }
}
