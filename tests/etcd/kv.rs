//! etcdctl's everyday commands through the daemon.

use crate::stage::{Stage, on_each_generation};
use crate::support::beside_others;
use crate::support::generation::Generation;

on_each_generation!(
    a_value_put_is_got_and_deleted,
    many_keys_come_in_order_and_in_pages,
    a_transaction_takes_the_branch_that_its_compare_says,
    a_value_of_a_megabyte_comes_back_whole,
);

fn a_value_put_is_got_and_deleted(generation: Generation) {
    let _floor = beside_others();
    let etcdctl = Stage::shared(generation).etcdctl();
    assert_eq!(etcdctl.run(&["put", "kv/a", "one"]), "OK\n");
    assert_eq!(etcdctl.run(&["get", "kv/a"]), "kv/a\none\n");
    assert_eq!(etcdctl.run(&["del", "kv/a"]), "1\n");
    assert_eq!(etcdctl.run(&["get", "kv/a"]), "");
}

fn many_keys_come_in_order_and_in_pages(generation: Generation) {
    let _floor = beside_others();
    let etcdctl = Stage::shared(generation).etcdctl();
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
    let _floor = beside_others();
    let etcdctl = Stage::shared(generation).etcdctl();
    etcdctl.run(&["put", "kv/txn", "before"]);
    let script = "value(\"kv/txn\") = \"before\"\n\nput kv/txn after\nget kv/txn\n\nget kv/txn\n\n";
    let first = etcdctl.run_with_input(&["txn"], script);
    assert!(first.contains("SUCCESS") && first.contains("after"), "{first}");
    let second = etcdctl.run_with_input(&["txn"], script);
    assert!(second.contains("FAILURE") && second.contains("after"), "{second}");
}

fn a_value_of_a_megabyte_comes_back_whole(generation: Generation) {
    let _floor = beside_others();
    let etcdctl = Stage::shared(generation).etcdctl();
    let value: String = ('a'..='z').cycle().take(1_000_000).collect();
    assert_eq!(etcdctl.run_with_input(&["put", "kv/large"], &value), "OK\n");
    let got = etcdctl.run(&["get", "--print-value-only", "kv/large"]);
    assert_eq!(got.trim_end_matches('\n').len(), value.len());
    assert!(got.trim_end_matches('\n') == value, "the value came back changed");
}
