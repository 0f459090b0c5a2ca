//! etcdctl's watches through the daemon.

use crate::fixture::{Fixture, on_each_generation};
use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::{PATIENCE, shared};

on_each_generation!(
    a_watch_shows_what_is_put_and_deleted_after_it_began,
    a_watch_from_an_old_revision_shows_the_history_first,
    a_watch_with_previous_values_shows_them,
);

fn a_watch_shows_what_is_put_and_deleted_after_it_began(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    // The watch starts at the next revision, so that it does not matter how soon it is created.
    let next = revision_after_put(&etcdctl, "watch/marker") + 1;
    let watch = etcdctl.start(&["watch", "--prefix", &format!("--rev={next}"), "watch/live/"]);
    etcdctl.run(&["put", "watch/live/a", "one"]);
    assert!(watch.wait_for_line("one", PATIENCE).is_some());
    etcdctl.run(&["del", "watch/live/a"]);
    assert!(watch.wait_for_line("DELETE", PATIENCE).is_some());
    let lines = watch.lines();
    assert_eq!(lines[..4], ["PUT", "watch/live/a", "one", "DELETE"]);
}

fn a_watch_from_an_old_revision_shows_the_history_first(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let first = revision_after_put(&etcdctl, "watch/history");
    for number in 1..=20 {
        etcdctl.run(&["put", "watch/history", &number.to_string()]);
    }
    let watch = etcdctl.start(&["watch", &format!("--rev={first}"), "watch/history"]);
    assert!(watch.wait_for_line("20", PATIENCE).is_some());
    etcdctl.run(&["put", "watch/history", "last"]);
    assert!(watch.wait_for_line("last", PATIENCE).is_some());
    let values: Vec<_> = watch.lines().into_iter().skip(2).step_by(3).collect();
    let mut wanted = vec!["x".to_owned()];
    wanted.extend((1..=20).map(|number| number.to_string()));
    wanted.push("last".to_owned());
    assert_eq!(values, wanted);
}

fn a_watch_with_previous_values_shows_them(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let first = revision_after_put(&etcdctl, "watch/previous");
    etcdctl.run(&["put", "watch/previous", "new"]);
    let from = format!("--rev={}", first + 1);
    let watch = etcdctl.start(&["watch", "--prev-kv", &from, "watch/previous"]);
    assert!(watch.wait_for_line("new", PATIENCE).is_some());
    assert_eq!(watch.lines(), ["PUT", "watch/previous", "x", "watch/previous", "new"]);
}

fn revision_after_put(etcdctl: &Etcdctl, key: &str) -> i64 {
    let answer = etcdctl.run(&["put", key, "x", "-w", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    answer["header"]["revision"].as_i64().expect("a revision")
}
