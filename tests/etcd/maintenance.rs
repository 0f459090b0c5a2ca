//! etcdctl's status of members, and snapshots, through the daemon.

use crate::fixture::{Fixture, on_each_generation};
use crate::support::generation::Generation;
use crate::support::scratch::Scratch;
use crate::support::shared;

on_each_generation!(
    the_member_list_is_the_members_own,
    an_endpoint_has_a_status_and_is_healthy,
    a_snapshot_is_saved_whole,
    a_compaction_is_passed_on,
);

fn the_member_list_is_the_members_own(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let through = fixture.etcdctl().run(&["member", "list"]);
    assert_eq!(through, fixture.cluster.etcdctl().run(&["member", "list"]));
    assert_eq!(through.lines().count(), 3);
}

fn an_endpoint_has_a_status_and_is_healthy(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let status = etcdctl.run(&["endpoint", "status", "-w", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let version = status[0]["Status"]["version"].as_str().expect("a version");
    assert!(version.starts_with(generation.number()), "{version}");
    let health = etcdctl.run(&["endpoint", "health", "-w", "json"]);
    assert!(health.contains("\"health\":true"), "{health}");
}

fn a_snapshot_is_saved_whole(generation: Generation) {
    let _machine = shared();
    let scratch = Scratch::new("snapshot");
    let file = scratch.join("db");
    let etcdctl = Fixture::shared(generation).etcdctl();
    etcdctl.run(&["snapshot", "save", file.to_str().expect("a path")]);
    // The file has whole pages of the database, followed by a SHA-256.
    let size = std::fs::metadata(&file).expect("a snapshot").len();
    assert!(size > 4096 && size % 512 == 32, "{size} bytes");
}

fn a_compaction_is_passed_on(generation: Generation) {
    let _machine = shared();
    let etcdctl = Fixture::shared(generation).etcdctl();
    let put = etcdctl.run(&["put", "compaction", "x", "-w", "json"]);
    let put: serde_json::Value = serde_json::from_str(&put).expect("JSON");
    let revision = put["header"]["revision"].as_i64().expect("a revision");
    // A revision in the future, so that nothing is compacted: other tests watch the history of this
    // cluster.
    let refused = etcdctl.try_run(&["compact", &(revision + 1000).to_string()]);
    let refused = refused.expect_err("a revision in the future");
    assert!(refused.contains("required revision is a future revision"), "{refused}");
    assert!(etcdctl.run(&["get", "compaction", "--rev", &revision.to_string()]).contains('x'));
}
