//! `rewrite-members`: what real clients learn from a member list, and where they go afterwards.

use crate::stage::{Stage, on_each_generation, on_generations_with_v2};
use crate::support::beside_others;
use crate::support::cluster::Cluster;
use crate::support::etcdctl::Etcdctl;
use crate::support::generation::Generation;
use crate::support::http1;
use crate::support::process;
use crate::support::proxy::Proxy;
use crate::support::run;
use std::sync::LazyLock;

on_each_generation!(
    every_list_names_the_proxy,
    etcdctl_asks_the_proxy_where_it_would_ask_the_members,
    lists_pass_as_they_are_when_nothing_is_said,
);
on_generations_with_v2!(v2_lists_name_the_proxy, etcdctl_v2_syncs_to_the_proxy);

/// A cluster of one and a proxy that rewrites, for each generation.
fn rewriting(generation: Generation) -> &'static Stage {
    static STAGES: [LazyLock<Stage>; 3] = [
        LazyLock::new(|| stage(Generation::V3_4)),
        LazyLock::new(|| stage(Generation::V3_5)),
        LazyLock::new(|| stage(Generation::V3_7)),
    ];
    match generation {
        Generation::V3_4 => &STAGES[0],
        Generation::V3_5 => &STAGES[1],
        Generation::V3_7 => &STAGES[2],
    }
}

fn stage(generation: Generation) -> Stage {
    let cluster = Cluster::start(generation, 2);
    let plan = Proxy::before(&cluster);
    let ours = format!("http://{}", plan.address());
    let proxy = plan.arguments(&["--rewrite-members", "--advertise-client-urls", &ours]).start();
    Stage { cluster, proxy }
}

fn etcdctl_v2_with_sync(stage: &Stage) -> Etcdctl {
    Etcdctl::v2_with_sync(stage.cluster.generation, &stage.proxy.address)
}

fn every_list_names_the_proxy(generation: Generation) {
    let _floor = beside_others();
    let stage = rewriting(generation);
    let ours = format!("http://{}", stage.proxy.address);
    let table = stage.etcdctl().run(&["member", "list"]);
    let theirs = stage.cluster.etcdctl().run(&["member", "list"]);
    assert_eq!(table.lines().count(), 2);
    for index in 0..2 {
        assert!(!table.contains(&stage.cluster.client(index)), "{table}");
        let url = format!("http://{}", stage.cluster.client(index));
        // All but the client URLs is as the members say it.
        let line = theirs.lines().find(|line| line.contains(&url)).expect("the member's line");
        assert!(table.contains(&line.replace(&url, &ours)), "{table}\n{theirs}");
    }
    let prefix = if generation == Generation::V3_4 { "v3beta" } else { "v3" };
    let path = format!("/{prefix}/cluster/member/list");
    let listed =
        run(http1::request(&stage.proxy.address, "POST", &path, "{}")).expect("an answer").json();
    let members = listed["members"].as_array().expect("members").clone();
    assert_eq!(members.len(), 2);
    for member in &members {
        assert_eq!(member["clientURLs"], serde_json::json!([ours]), "{listed}");
        assert!(member["peerURLs"][0].is_string() && member["ID"].is_string(), "{listed}");
    }
    json_over_http2(&stage.proxy.address, &ours);
}

/// By curl, which every machine has that `make test` knows.
fn json_over_http2(address: &str, ours: &str) {
    let mut curl = process::command("curl");
    curl.args(["-sS", "--compressed", "--http2-prior-knowledge", "-d", "{}"]);
    curl.arg(format!("http://{address}/v3/cluster/member/list"));
    let output = process::output(curl);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let listed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(listed["members"][0]["clientURLs"], serde_json::json!([ours]), "{text}");
}

fn etcdctl_asks_the_proxy_where_it_would_ask_the_members(generation: Generation) {
    let _floor = beside_others();
    let stage = rewriting(generation);
    let text = stage.etcdctl().run(&["endpoint", "health", "--cluster"]);
    assert!(text.contains(&stage.proxy.address) || text.is_empty(), "{text}");
    assert!(!text.contains(&stage.cluster.client(0)), "{text}");
    let status = stage.etcdctl().run(&["endpoint", "status", "--cluster", "-w", "json"]);
    assert!(status.contains(&stage.proxy.address), "{status}");
    for index in 0..2 {
        assert!(!status.contains(&stage.cluster.client(index)), "{status}");
    }
}

fn lists_pass_as_they_are_when_nothing_is_said(generation: Generation) {
    let _floor = beside_others();
    let stage = Stage::shared(generation);
    let table = stage.etcdctl().run(&["member", "list"]);
    for index in 0..3 {
        assert!(table.contains(&stage.cluster.client(index)), "{table}");
    }
}

fn v2_lists_name_the_proxy(generation: Generation) {
    let _floor = beside_others();
    let stage = rewriting(generation);
    let ours = format!("http://{}", stage.proxy.address);
    run(async {
        let machines = http1::get(&stage.proxy.address, "/v2/machines").await;
        assert_eq!(machines.text(), ours);
        let length = ours.len().to_string();
        assert_eq!(machines.header("content-length"), Some(length.as_str()), "{machines:?}");
        let members = http1::get(&stage.proxy.address, "/v2/members").await;
        let theirs = http1::get(&stage.cluster.client(0), "/v2/members").await;
        let mut expected = theirs.text();
        for index in 0..2 {
            let url = format!("http://{}", stage.cluster.client(index));
            expected = expected.replace(&url, &ours);
        }
        assert_eq!(members.text(), expected);
        // One member, and no list.
        let leader = http1::get(&stage.proxy.address, "/v2/members/leader").await;
        assert_eq!(leader.status, 200, "{leader:?}");
    });
}

fn etcdctl_v2_syncs_to_the_proxy(generation: Generation) {
    let _floor = beside_others();
    let stage = rewriting(generation);
    let ours = format!("http://{}", stage.proxy.address);
    let list = etcdctl_v2_with_sync(stage).run(&["member", "list"]);
    assert_eq!(list.matches(&format!("clientURLs={ours} ")).count(), 2, "{list}");
    // What it says while it works is only shown when it fails.
    let said = etcdctl_v2_with_sync(stage).with("--debug").try_run(&["get", "/v2/never-set"]);
    let said = said.expect_err("no such key");
    assert!(said.contains("Key not found"), "{said}");
    let endpoints = said.lines().find(|line| line.starts_with("Cluster-Endpoints:"));
    let endpoints = endpoints.unwrap_or_else(|| panic!("{said}"));
    for endpoint in endpoints.trim_start_matches("Cluster-Endpoints:").split(',') {
        assert_eq!(endpoint.trim(), ours, "{said}");
    }
}
