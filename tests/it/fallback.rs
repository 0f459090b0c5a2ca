//! `proxy = "off"` on a host that has been a proxy of its cluster, whose registry can no longer be
//! used.

use crate::scripted_registry::{Registry, page};
use crate::support::peer::{Peer, Reply};
use crate::support::process;
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, port, shared};

/// Starts the peer of a cluster with one member.
fn peer() -> Peer {
    let peer = Peer::start(Reply::Never);
    let list = format!(
        r#"[{{"id":1,"name":"a","peerURLs":["{}"],"clientURLs":["http://127.0.0.1:9"]}}]"#,
        peer.url
    );
    peer.set(Reply::members("a1", &list));
    peer
}

/// Starts a host whose cluster file names this peer, found through the discovery URL `before`. Its
/// settings name `url`.
fn host(scratch: &Scratch, peer: &Peer, before: &str, url: &str, more: &str) -> Proxy {
    std::fs::create_dir_all(scratch.join("proxy")).expect("a directory");
    let kept = format!(
        r#"{{"PeerURLs":["{}"],"clusterID":"a1","source":"discovery {before}"}}"#,
        peer.url
    );
    std::fs::write(scratch.join("proxy/cluster"), kept).expect("a cluster file");
    let settings = format!("proxy = \"off\"\nname = \"h\"\ndiscovery = \"{url}\"\n{more}");
    let plan = Proxy::with_peers("").file(&settings).bare();
    let listen = format!("http://{}", plan.address());
    let data = scratch.path().display().to_string();
    plan.arguments(&["--listen-client-urls", &listen, "--data-dir", &data]).spawn()
}

#[test]
fn a_host_that_was_a_proxy_serves_when_the_registry_is_gone() {
    let _machine = shared();
    let (scratch, peer) = (Scratch::new("data"), peer());
    let url = format!("http://127.0.0.1:{}/token", port::free());
    let proxy = host(&scratch, &peer, &url, &url, "");
    proxy.wait_until_ready();
    let said = proxy.process.wait_for_line("was a proxy of that cluster before", PATIENCE);
    assert!(said.expect("a warning").starts_with("warning: "), "{}", proxy.story());
    assert!(
        proxy.command(&["status"]).0.contains("the members come from peers in the cluster file")
    );
}

#[test]
fn a_host_that_was_a_proxy_serves_when_the_registry_has_forgotten_its_token() {
    let _machine = shared();
    let (scratch, peer) = (Scratch::new("data"), peer());
    let registry = Registry::start(|_| {
        page("404 Not Found", r#"{"errorCode":100,"message":"Key not found"}"#)
    });
    let proxy = host(&scratch, &peer, &registry.url, &registry.url, "");
    proxy.wait_until_ready();
    let said = proxy.process.wait_for_line("was a proxy of that cluster before", PATIENCE);
    assert!(said.expect("a warning").contains("no size is set there"), "{}", proxy.story());
}

#[test]
fn a_host_that_was_a_proxy_of_another_cluster_or_may_not_be_one_waits_for_the_registry() {
    let _machine = shared();
    let url = format!("http://127.0.0.1:{}/token", port::free());
    for (before, more) in
        [("http://127.0.0.1:1/other", ""), (url.as_str(), "discovery-fallback = \"exit\"\n")]
    {
        let (scratch, peer) = (Scratch::new("data"), peer());
        let proxy = host(&scratch, &peer, before, &url, more);
        let said = proxy.process.wait_for_line("asking again in 2s", PATIENCE);
        assert!(said.is_some(), "{}", proxy.story());
    }
}

#[test]
fn what_is_wrong_with_the_settings_of_a_member_is_said_before_etcd_takes_over() {
    let _machine = shared();
    let scratch = Scratch::new("data");
    std::fs::create_dir_all(scratch.join("member/wal")).expect("a directory");
    std::fs::write(scratch.join("member/wal/0.wal"), "").expect("a log");
    let mut command = process::command(env!("CARGO_BIN_EXE_etcd-proxy"));
    command.args(["--proxy", "off", "--member-binary", "true", "--discovery", "http://a:1/t"]);
    command.args(["--initial-cluster", "a=http://a:2380", "--data-dir"]).arg(scratch.path());
    let output = process::output(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: `initial-cluster` is ignored"), "{said}");
    assert!(said.contains("this host has a member's data: running etcd"), "{said}");
}
