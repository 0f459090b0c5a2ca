//! Members and proxies that find each other through a real registry, started in any order.

use std::path::Path;
use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::notify::Notify;
use crate::support::proxy::{Plan, Proxy};
use crate::support::registry::{self, Service};
use crate::support::settings_file::Way;
use crate::support::tls::Authority;
use crate::support::{PATIENCE, http1, run, scratch::Scratch, shared, wait_until};

/// Plans a cluster of three that finds its members by these flags.
fn planned(generation: Generation, flags: &[String]) -> Cluster {
    Cluster::planned(generation, 3).found_by(flags)
}

/// Plans a proxy that takes its peers from these settings.
fn proxy(settings: &str) -> Plan {
    Proxy::with_peers("").file(settings)
}

/// Plans a proxy whose data directory outlives it.
fn proxy_with_data(settings: &str, data: &Path) -> Plan {
    let plan = proxy(settings).bare();
    let listen = format!("http://{}", plan.address());
    plan.arguments(&["--listen-client-urls", &listen, "--data-dir", &data.display().to_string()])
}

/// Returns the members' flags and the proxies' settings for a v2 registry.
fn v2(url: &str) -> (Vec<String>, String) {
    (vec![format!("--discovery={url}")], format!("discovery = \"{url}\"\n"))
}

#[track_caller]
fn wait_for_status(proxy: &Proxy, words: &str) {
    let said = || proxy.notify.statuses().last().is_some_and(|status| status.contains(words));
    wait_until(words, said);
}

fn wait_until_serving(members: &[Notify]) {
    for member in members {
        assert!(member.wait_for("READY=1", PATIENCE).is_some(), "a member is not ready");
    }
}

/// One proxy starts before all members, the other between them. `halfway` runs when two members are
/// registered.
fn three_members_and_two_proxies(
    generation: Generation,
    flags: &[String],
    settings: &str,
    halfway: impl FnOnce(),
) {
    let cluster = planned(generation, flags);
    let early = proxy(settings).spawn();
    wait_for_status(&early, "waiting for members: 0 of 3 members registered at ");
    let mut members = vec![cluster.start_member(0)];
    wait_for_status(&early, "1 of 3 members registered at ");
    let late = proxy(settings).spawn();
    members.push(cluster.start_member(1));
    for proxy in [&early, &late] {
        wait_for_status(proxy, "2 of 3 members registered at ");
        assert_eq!(run(http1::get(&proxy.address, "/version")).status, 503);
        assert!(!proxy.notify.heard().contains(&"READY=1".to_owned()), "{}", proxy.story());
    }
    halfway();
    members.push(cluster.start_member(2));
    wait_until_serving(&members);
    for proxy in [early, late] {
        proxy.wait_until_ready();
        proxy.etcdctl(generation).run(&["put", "found", "by discovery"]);
        assert_eq!(proxy.status()["peers"].as_array().map(Vec::len), Some(3));
    }
    let last = proxy(settings).start();
    let found = last.etcdctl(generation).run(&["get", "found", "--print-value-only"]);
    assert_eq!(found.trim(), "by discovery");
}

#[test]
fn proxies_serve_once_the_third_member_is_at_the_discovery_service() {
    let _machine = shared();
    if !Generation::V3_4.is_here() {
        return;
    }
    let Some(service) = Service::start() else { return };
    let (flags, settings) = v2(&service.token(3));
    // Members and proxies wait in long polls, which a restart of the registry cuts.
    let restart = || service.restart();
    three_members_and_two_proxies(Generation::V3_4, &flags, &settings, restart);
}

#[test]
fn proxies_serve_once_the_third_member_is_in_a_plain_etcd() {
    let _machine = shared();
    if !Generation::V3_4.is_here() || !Generation::V3_5.is_here() {
        return;
    }
    let (flags, settings) = v2(&registry::plain("3"));
    three_members_and_two_proxies(Generation::V3_5, &flags, &settings, || {});
}

#[test]
fn proxies_may_be_first_and_last() {
    let _machine = shared();
    if !Generation::V3_4.is_here() || !Generation::V3_5.is_here() {
        return;
    }
    let (flags, settings) = v2(&registry::plain("3"));
    let cluster = planned(Generation::V3_5, &flags);
    let first = [proxy(&settings).spawn(), proxy(&settings).spawn()];
    for proxy in &first {
        wait_for_status(proxy, "waiting for members: 0 of 3 members registered at ");
    }
    // All three start at once, so that several may register between two polls.
    let members = [0, 1, 2].map(|index| cluster.start_member(index));
    wait_until_serving(&members);
    for proxy in first {
        proxy.wait_until_ready();
        proxy.etcdctl(Generation::V3_5).run(&["put", "order", "proxies first"]);
    }
    for proxy in [proxy(&settings).start(), proxy(&settings).start()] {
        let found = proxy.etcdctl(Generation::V3_5).run(&["get", "order", "--print-value-only"]);
        assert_eq!(found.trim(), "proxies first");
    }
}

/// Makes a token for three members in a v3 registry. Returns the flags and settings for it.
fn v3(registry: &Cluster, token: &str) -> (Vec<String>, String) {
    registry.etcdctl().run(&["put", &format!("/_etcd/registry/{token}/_config/size"), "3"]);
    let endpoint = format!("http://{}", registry.client(0));
    (
        vec![format!("--discovery-token={token}"), format!("--discovery-endpoints={endpoint}")],
        format!("discovery-token = \"{token}\"\ndiscovery-endpoints = [\"{endpoint}\"]\n"),
    )
}

#[test]
fn proxies_serve_once_the_third_member_is_in_a_registry_of_v3() {
    let _machine = shared();
    if !Generation::V3_7.is_here() {
        return;
    }
    let registry = Cluster::start(Generation::V3_7, 1);
    let (flags, settings) = v3(&registry, "third");
    three_members_and_two_proxies(Generation::V3_7, &flags, &settings, || {});
}

#[test]
fn a_registry_of_v3_may_want_tls_and_a_password() {
    let _machine = shared();
    if !Generation::V3_7.is_here() || !Generation::V3_5.is_here() {
        return;
    }
    let authority = Authority::new("registry");
    let registry = Cluster::planned(Generation::V3_7, 1).secured(&authority);
    registry.start_all();
    let members = Cluster::start(Generation::V3_5, 1);
    let etcdctl = registry.etcdctl();
    etcdctl.run(&["put", "/_etcd/registry/t/_config/size", "1"]);
    let value = format!("m0={}", members.peer_url(0));
    etcdctl.run(&["put", "/_etcd/registry/t/members/1", &value]);
    etcdctl.run(&["user", "add", "root:hunter2"]);
    etcdctl.run(&["user", "grant-role", "root", "root"]);
    etcdctl.run(&["auth", "enable"]);
    let (files, identity) = (registry.client_files(), registry.client_identity());
    let scratch = Scratch::new("authority");
    let trusted = scratch.join("ca.pem");
    std::fs::write(&trusted, Authority::new("another").pem()).expect("a file");
    let settings = |password: &str| {
        format!(
            "discovery-token = \"t\"\ndiscovery-endpoints = [\"{}\"]\ndiscovery-cacert = \"{}\"\n\
             discovery-cert = \"{}\"\ndiscovery-key = \"{}\"\ndiscovery-user = \"root\"\n\
             discovery-password = \"{password}\"\n",
            registry.client(0),
            trusted.display(),
            identity.certificate.display(),
            identity.key.display()
        )
    };
    let proxy = proxy(&settings("hunter1")).spawn();
    wait_for_status(&proxy, "unknown authority");
    // The file is watched, and its change lets the daemon ask the registry at once.
    std::fs::copy(&files.authority, &trusted).expect("the right one");
    wait_for_status(&proxy, "it refuses `discovery-user`: etcdserver: authentication failed");
    // New settings also end the pause before the next attempt.
    proxy.edit(Way::Rename, &settings("hunter2"));
    proxy.wait_until_ready();
    assert!(
        !proxy.process.lines().iter().any(|line| line.contains("hunter")),
        "a password is logged"
    );
}

#[test]
fn what_is_wrong_with_a_token_is_said_and_can_be_mended_in_the_file() {
    let _machine = shared();
    if !Generation::V3_4.is_here() || !Generation::V3_5.is_here() {
        return;
    }
    let members = Cluster::start(Generation::V3_5, 1);
    let good = registry::plain("1");
    registry::put(&format!("{good}/1"), &format!("m0={}", members.peer_url(0)));
    let unknown = format!("{good}0");
    let twice = registry::plain("2");
    registry::put(&format!("{twice}/1"), "m0=http://127.0.0.1:1");
    registry::put(&format!("{twice}/2"), "m0=http://127.0.0.1:2");
    let bad = [
        (
            unknown.clone(),
            format!(
                "waiting for members: {unknown}: no size is set there, so the token is unknown"
            ),
        ),
        (
            registry::plain("many"),
            "the cluster's size there is \"many\", which is not a number above zero".to_owned(),
        ),
        (twice, "the 2 members have only 1 name between them".to_owned()),
    ];
    let proxy = proxy(&v2(&bad[0].0).1).spawn();
    for (url, words) in bad {
        // The daemon has the first settings already, and writing them again changes nothing.
        proxy.file.as_ref().expect("a file").write(Way::Rename, &v2(&url).1);
        wait_for_status(&proxy, &words);
    }
    proxy.edit(Way::Rename, &v2(&good).1);
    proxy.wait_until_ready();
    let (status, _) = proxy.command(&["status"]);
    assert!(status.contains(&format!("discovery at {good}")), "{status}");
    // From discovery to a list of peers and back, while it serves.
    let list = format!("initial-cluster = \"{}\"\n", members.initial_cluster());
    for settings in [list, v2(&good).1] {
        proxy.edit(Way::Rename, &settings);
        assert_eq!(proxy.status()["reloads"][0]["result"], "applied");
        assert_eq!(proxy.status()["reloads"][0]["messages"].as_array().map(Vec::len), Some(0));
        proxy.etcdctl(members.generation).run(&["put", "a", "b"]);
    }
}

#[test]
fn the_cluster_file_stands_in_for_a_registry_that_is_gone() {
    let _machine = shared();
    if !Generation::V3_4.is_here() || !Generation::V3_5.is_here() {
        return;
    }
    let Some(service) = Service::start() else { return };
    let members = Cluster::start(Generation::V3_5, 1);
    let url = service.token(1);
    registry::put(&format!("{url}/1"), &format!("m0={}", members.peer_url(0)));
    let data = Scratch::new("data");
    let (_, settings) = v2(&url);
    let proxy = proxy_with_data(&settings, data.path()).start();
    assert!(proxy.terminate(PATIENCE).is_some());
    service.stop();
    let proxy = proxy_with_data(&settings, data.path()).start();
    proxy.etcdctl(members.generation).run(&["put", "a", "b"]);
    let (status, well) = proxy.command(&["status"]);
    assert!(status.contains("connection refused; next try after"), "{status}");
    assert!(status.contains("the members come from peers in the cluster file"), "{status}");
    assert!(!well);
    // The registry comes back, and the problem is gone.
    service.restart();
    wait_until("no problem is left", || proxy.command(&["status"]).1);
    // Another token means another cluster, for which the file's members are of no use.
    drop(proxy);
    let (_, other) = v2(&service.unknown_token());
    let proxy = proxy_with_data(&other, data.path()).spawn();
    wait_for_status(&proxy, "no size is set there");
    std::thread::sleep(Duration::from_millis(1200));
    assert!(!proxy.notify.heard().contains(&"READY=1".to_owned()), "{}", proxy.story());
}
