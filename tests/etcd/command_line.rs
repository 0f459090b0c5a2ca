//! An old command line of `etcd --proxy` works with its first word replaced.

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually, http1, run, shared};

on_each_generation!(the_old_flags_variables_and_file_start_a_working_proxy);

fn the_old_flags_variables_and_file_start_a_working_proxy(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 3);
    let peers = cluster.initial_cluster().replace("m0=", "infra1=").replace("m1=", "infra2=");
    for proxy in [by_flags(&peers), by_go_flags(&peers), by_variables(&peers), by_file(&peers)] {
        proxy.wait_until_ready();
        works(&proxy, generation);
    }
}

fn by_flags(peers: &str) -> Proxy {
    let plan = Proxy::with_peers(peers).bare();
    let listen = format!("http://{}", plan.address());
    plan.arguments(&["--name", "infra-proxy1", "--proxy=on", "--listen-client-urls", &listen])
        .arguments(&["--initial-cluster", peers, "--enable-pprof"])
        .spawn()
}

fn by_go_flags(peers: &str) -> Proxy {
    let plan = Proxy::with_peers(peers).bare();
    let listen = format!("-listen-client-urls=http://{}", plan.address());
    plan.arguments(&["-name", "infra-proxy1", "-proxy", "on", &listen])
        .arguments(&["-initial-cluster", peers, "-enable-pprof=true"])
        .spawn()
}

fn by_variables(peers: &str) -> Proxy {
    let plan = Proxy::with_peers(peers).bare();
    let listen = format!("http://{}", plan.address());
    plan.variable("ETCD_NAME", "infra-proxy1")
        .variable("ETCD_PROXY", "on")
        .variable("ETCD_LISTEN_CLIENT_URLS", &listen)
        .variable("ETCD_INITIAL_CLUSTER", peers)
        .variable("ETCD_ENABLE_PPROF", "true")
        .spawn()
}

fn by_file(peers: &str) -> Proxy {
    let plan = Proxy::with_peers(peers).bare();
    let listen = plan.address();
    plan.file(&format!(
        "name = \"infra-proxy1\"\nproxy = \"on\"\nlisten-client-urls = \"http://{listen}\"\n\
         initial-cluster = \"{peers}\"\nenable-pprof = true\n"
    ))
    .spawn()
}

fn works(proxy: &Proxy, generation: Generation) {
    let etcdctl = proxy.etcdctl(generation);
    etcdctl.run(&["put", "old", "works"]);
    assert_eq!(etcdctl.run(&["get", "--print-value-only", "old"]), "works\n");
    let local = run(http1::get(&proxy.address, "/v2/config/local/proxy")).json();
    assert_eq!(local["endpoints"].as_array().expect("endpoints").len(), 3, "{local}");
    // The default path and format of etcd's proxy for its cluster file.
    let file = proxy.directory().join("infra-proxy1.etcd/proxy/cluster");
    run(eventually("the cluster file is written", PATIENCE, async || file.exists()));
    let known = std::fs::read_to_string(file).expect("the cluster file");
    let known: serde_json::Value = serde_json::from_str(&known).expect("JSON");
    assert_eq!(known["PeerURLs"].as_array().expect("peer URLs").len(), 3);
}
