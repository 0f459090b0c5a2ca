//! `rewrite-members`: the member list that real clients get, and where they connect afterwards.

use std::sync::LazyLock;

use crate::fixture::{Fixture, on_each_generation, on_generations_with_v2};
use crate::support::cluster::Cluster;
use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::process;
use crate::support::proxy::Proxy;
use crate::support::run;
use crate::support::shared;
use crate::support::{http1, http2};

on_each_generation!(
    every_list_names_the_proxy,
    etcdctl_asks_the_proxy_where_it_would_ask_the_members,
    lists_pass_as_they_are_when_nothing_is_said,
    a_go_client_that_syncs_stays_behind_the_proxy,
);
on_generations_with_v2!(v2_lists_name_the_proxy, etcdctl_v2_syncs_to_the_proxy);

/// Returns a cluster of two members with a proxy that rewrites; the tests of an etcd version share
/// it.
fn rewriting(generation: Generation) -> &'static Fixture {
    static FIXTURES: [LazyLock<Fixture>; 4] = [
        LazyLock::new(|| fixture(Generation::V3_4)),
        LazyLock::new(|| fixture(Generation::V3_5)),
        LazyLock::new(|| fixture(Generation::V3_6)),
        LazyLock::new(|| fixture(Generation::V3_7)),
    ];
    match generation {
        Generation::V3_4 => &FIXTURES[0],
        Generation::V3_5 => &FIXTURES[1],
        Generation::V3_6 => &FIXTURES[2],
        Generation::V3_7 => &FIXTURES[3],
    }
}

fn fixture(generation: Generation) -> Fixture {
    let cluster = Cluster::start(generation, 2);
    let plan = Proxy::before(&cluster);
    let ours = format!("http://{}", plan.address());
    let proxy = plan.arguments(&["--rewrite-members", "--advertise-client-urls", &ours]).start();
    Fixture { cluster, proxy }
}

fn etcdctl_v2_with_sync(fixture: &Fixture) -> Etcdctl {
    Etcdctl::v2_with_sync(fixture.cluster.generation, &fixture.proxy.address)
}

fn every_list_names_the_proxy(generation: Generation) {
    let _machine = shared();
    let fixture = rewriting(generation);
    let ours = format!("http://{}", fixture.proxy.address);
    let table = fixture.etcdctl().run(&["member", "list"]);
    let theirs = fixture.cluster.etcdctl().run(&["member", "list"]);
    assert_eq!(table.lines().count(), 2);
    for index in 0..2 {
        assert!(!table.contains(&fixture.cluster.client(index)), "{table}");
        let url = format!("http://{}", fixture.cluster.client(index));
        // Everything except the client URLs is unchanged.
        let line = theirs.lines().find(|line| line.contains(&url)).expect("the member's line");
        assert!(table.contains(&line.replace(&url, &ours)), "{table}\n{theirs}");
    }
    let prefix = if generation == Generation::V3_4 { "v3beta" } else { "v3" };
    let path = format!("/{prefix}/cluster/member/list");
    let listed =
        run(http1::request(&fixture.proxy.address, "POST", &path, "{}")).expect("an answer").json();
    let members = listed["members"].as_array().expect("members").clone();
    assert_eq!(members.len(), 2);
    for member in &members {
        assert_eq!(member["clientURLs"], serde_json::json!([ours]), "{listed}");
        assert!(member["peerURLs"][0].is_string() && member["ID"].is_string(), "{listed}");
    }
    json_over_http2(&fixture.proxy.address, &ours);
}

/// Asks with the header by which clients accept a compressed answer.
fn json_over_http2(address: &str, ours: &str) {
    let answer = run(async {
        let connection = http2::Connection::open(address).await;
        let headers = [("accept-encoding", "gzip, deflate"), ("content-type", "application/json")];
        connection.exchange("POST", "/v3/cluster/member/list", &headers, b"{}").await
    });
    let answer = answer.expect("an answer");
    let listed: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(listed["members"][0]["clientURLs"], serde_json::json!([ours]), "{answer:?}");
    let length = answer.body.len().to_string();
    assert_eq!(
        answer.headers.get("content-length").map(|value| value.as_bytes()),
        Some(length.as_bytes())
    );
}

fn etcdctl_asks_the_proxy_where_it_would_ask_the_members(generation: Generation) {
    let _machine = shared();
    let fixture = rewriting(generation);
    let text = fixture.etcdctl().run(&["endpoint", "health", "--cluster", "-w", "json"]);
    let health: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(health[0]["endpoint"], format!("http://{}", fixture.proxy.address), "{text}");
    assert_eq!(health[0]["health"], true, "{text}");
    assert!(!text.contains(&fixture.cluster.client(0)), "{text}");
    let status = fixture.etcdctl().run(&["endpoint", "status", "--cluster", "-w", "json"]);
    assert!(status.contains(&fixture.proxy.address), "{status}");
    for index in 0..2 {
        assert!(!status.contains(&fixture.cluster.client(index)), "{status}");
    }
}

/// Returns the endpoints of etcd's Go client after a sync with those at this address.
fn synced(address: &str) -> Vec<String> {
    let mut client = process::command(Generation::V3_7.etcd().with_file_name("endpoints"));
    client.arg(address);
    let output = process::output(client);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

fn a_go_client_that_syncs_stays_behind_the_proxy(generation: Generation) {
    if !Generation::V3_7.is_here() {
        return;
    }
    let _machine = shared();
    let fixture = rewriting(generation);
    let mut endpoints = synced(&fixture.proxy.address);
    endpoints.dedup();
    assert_eq!(endpoints, [format!("http://{}", fixture.proxy.address)]);
    // Without the setting the client goes around the proxy.
    let fixture = Fixture::shared(generation);
    let mut expected: Vec<_> =
        (0..3).map(|index| format!("http://{}", fixture.cluster.client(index))).collect();
    let mut endpoints = synced(&fixture.proxy.address);
    expected.sort();
    endpoints.sort();
    assert_eq!(endpoints, expected);
}

fn lists_pass_as_they_are_when_nothing_is_said(generation: Generation) {
    let _machine = shared();
    let fixture = Fixture::shared(generation);
    let table = fixture.etcdctl().run(&["member", "list"]);
    for index in 0..3 {
        assert!(table.contains(&fixture.cluster.client(index)), "{table}");
    }
}

fn v2_lists_name_the_proxy(generation: Generation) {
    let _machine = shared();
    let fixture = rewriting(generation);
    let ours = format!("http://{}", fixture.proxy.address);
    run(async {
        let machines = http1::get(&fixture.proxy.address, "/v2/machines").await;
        assert_eq!(machines.text(), ours);
        let length = ours.len().to_string();
        assert_eq!(machines.header("content-length"), Some(length.as_str()), "{machines:?}");
        let members = http1::get(&fixture.proxy.address, "/v2/members").await;
        let theirs = http1::get(&fixture.cluster.client(0), "/v2/members").await;
        let mut expected = theirs.text();
        for index in 0..2 {
            let url = format!("http://{}", fixture.cluster.client(index));
            expected = expected.replace(&url, &ours);
        }
        assert_eq!(members.text(), expected);
        // The answer is one member and not a list.
        let leader = http1::get(&fixture.proxy.address, "/v2/members/leader").await;
        assert_eq!(leader.status, 200, "{leader:?}");
    });
}

fn etcdctl_v2_syncs_to_the_proxy(generation: Generation) {
    let _machine = shared();
    let fixture = rewriting(generation);
    let ours = format!("http://{}", fixture.proxy.address);
    let list = etcdctl_v2_with_sync(fixture).run(&["member", "list"]);
    assert_eq!(list.matches(&format!("clientURLs={ours} ")).count(), 2, "{list}");
    // etcdctl prints its debug output only when the command fails.
    let said = etcdctl_v2_with_sync(fixture).with("--debug").try_run(&["get", "/v2/never-set"]);
    let said = said.expect_err("no such key");
    assert!(said.contains("Key not found"), "{said}");
    let endpoints = said.lines().find(|line| line.starts_with("Cluster-Endpoints:"));
    let endpoints = endpoints.unwrap_or_else(|| panic!("{said}"));
    for endpoint in endpoints.trim_start_matches("Cluster-Endpoints:").split(',') {
        assert_eq!(endpoint.trim(), ours, "{said}");
    }
}
