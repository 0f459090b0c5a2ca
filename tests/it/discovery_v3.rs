//! The daemon with v3 registries that misbehave: its STATUS, and how often it asks.

use std::net::TcpListener;
use std::time::Duration;

use crate::scripted_registry_v3::{Asked, Ending, Registry, Said, values};
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, http1, port, run, shared, wait_until};

/// Starts a daemon with these endpoints of a registry.
fn proxy(endpoints: &[&str]) -> Proxy {
    let endpoints = endpoints.join("\", \"");
    let settings = format!(
        "discovery-token = \"t\"\ndiscovery-endpoints = [\"{endpoints}\"]\n\
         discovery-request-timeout = \"500ms\"\n"
    );
    Proxy::with_peers("").file(&settings).spawn()
}

#[track_caller]
fn wait_for_status(proxy: &Proxy, words: &str) {
    let said = || proxy.notify.statuses().last().is_some_and(|status| status.contains(words));
    wait_until(words, said);
}

/// Starts a registry for a cluster of this size in which these members are registered.
fn registry(size: &'static str, members: &[&str]) -> Registry {
    let members: Vec<String> = members.iter().map(|member| (*member).to_owned()).collect();
    Registry::start(move |asked| match asked {
        Asked::Size => values(&[size]),
        Asked::Members => Said::Values(members.iter().rev().cloned().collect()),
        Asked::Watch => Said::Watched(Ending::Waits),
    })
}

#[test]
fn endpoints_that_are_dead_or_hang_are_passed_by() {
    let _machine = shared();
    let peer = Peer::start(Reply::Never);
    let list = format!(
        r#"[{{"id":1,"name":"a","peerURLs":["{}"],"clientURLs":["http://127.0.0.1:9"]}}]"#,
        peer.url
    );
    peer.set(Reply::members("a1", &list));
    let registry = registry("1", &[&format!("a={}", peer.url)]);
    let dead = format!("127.0.0.1:{}", port::free());
    // Accepts connections and never answers.
    let hung = TcpListener::bind(("127.0.0.1", port::free())).expect("a port");
    let hung = (hung.local_addr().expect("an address").to_string(), hung);
    let proxy = proxy(&[&dead, &hung.0, &registry.endpoint]);
    proxy.wait_until_ready();
    assert_eq!(registry.count(Asked::Size), 1);
    assert_eq!(registry.count(Asked::Watch), 0, "all members are registered");
}

#[test]
fn endpoints_that_are_all_of_no_use_are_each_told() {
    let _machine = shared();
    let dead = format!("127.0.0.1:{}", port::free());
    let hung = Registry::start(|_| Said::Nothing);
    let proxy = proxy(&[&dead, &hung.endpoint]);
    wait_for_status(&proxy, &format!("http://{dead} connection refused; "));
    wait_for_status(&proxy, &format!("http://{} no answer within 500ms; next", hung.endpoint));
    assert_eq!(run(http1::get(&proxy.address, "/version")).status, 503);
    wait_for_status(&proxy, "next try after 4 s");
    assert_eq!(hung.count(Asked::Size), 2);
}

#[test]
fn what_etcd_would_end_at_is_asked_once_and_told() {
    let _machine = shared();
    let with_size = |size: Said| {
        Registry::start(move |asked| match asked {
            Asked::Size => size.clone(),
            _ => values(&[]),
        })
    };
    let registries = [
        (with_size(values(&[])), "no size is set there, so the token is unknown"),
        (with_size(values(&["many"])), "the cluster's size there is \"many\""),
        (registry("1", &["a=127.0.0.1"]), "the entry \"a=127.0.0.1\" cannot be used: not a URL"),
    ];
    let proxies: Vec<_> =
        registries.iter().map(|(registry, _)| proxy(&[&registry.endpoint])).collect();
    for (proxy, (_, words)) in proxies.iter().zip(&registries) {
        wait_for_status(proxy, words);
        let told = proxy.process.wait_for_line("discovery cannot go on: ", PATIENCE);
        assert!(told.is_some(), "{}", proxy.story());
    }
    std::thread::sleep(Duration::from_secs(3));
    for (registry, words) in &registries {
        assert_eq!(registry.count(Asked::Size), 1, "{words}");
    }
}

#[test]
fn what_is_no_answer_is_asked_again_at_growing_pauses() {
    let _machine = shared();
    let registries = [
        (Registry::start(|_| Said::Junk), "not an etcd v3 API: "),
        (Registry::start(|_| Said::Status("14", "etcdserver: no leader")), "etcdserver: no leader"),
    ];
    let proxies: Vec<_> =
        registries.iter().map(|(registry, _)| proxy(&[&registry.endpoint])).collect();
    for (proxy, (registry, words)) in proxies.iter().zip(&registries) {
        wait_for_status(proxy, words);
        wait_for_status(proxy, "next try after 4 s");
        assert_eq!(registry.count(Asked::Size), 2, "{words}");
    }
}

#[test]
fn entries_that_are_none_do_not_count_and_who_comes_late_is_no_member() {
    let _machine = shared();
    let [a, b, c] = ["a", "b", "c"].map(|name| format!("{name}=http://127.0.0.1:{}", port::free()));
    let waiting = registry("2", &["junk", &a, "more junk"]);
    let full = registry("2", &[&a, "junk", &b, &c]);
    let proxies = [proxy(&[&waiting.endpoint]), proxy(&[&full.endpoint])];
    wait_for_status(&proxies[0], "1 of 2 members registered at ");
    wait_for_status(&proxies[1], "connection refused");
    let status = proxies[1].status();
    let peers = status["peers"].as_array().expect("peers").iter();
    let urls: Vec<_> = peers.filter_map(|peer| peer["url"].as_str()).collect();
    assert_eq!(urls, [&a[2..], &b[2..]]);
}

#[test]
fn watches_that_do_not_last_are_not_asked_for_in_a_loop() {
    let _machine = shared();
    // A watch that is refused is a failure like any other, and the pause after it doubles.
    let watches = [
        (Said::Watched(Ending::Cancelled), 2..=4),
        (Said::Watched(Ending::Over), 2..=4),
        (Said::Watched(Ending::Event), 2..=4),
        (Said::Status("14", "etcdserver: stopped"), 0..=1),
        (Said::Watched(Ending::Waits), 0..=0),
    ];
    let registries = watches.map(|(watch, most)| {
        let registry = Registry::start(move |asked| match asked {
            Asked::Size => values(&["2"]),
            Asked::Members => values(&["a=http://127.0.0.1:1"]),
            Asked::Watch => watch.clone(),
        });
        let proxy = proxy(&[&registry.endpoint]);
        (registry, proxy, most)
    });
    for (registry, proxy, _) in &registries {
        wait_until("a watch", || registry.count(Asked::Watch) > 0);
        assert!(!proxy.notify.heard().contains(&"READY=1".to_owned()), "{}", proxy.story());
    }
    let before = registries.each_ref().map(|(registry, _, _)| registry.count(Asked::Watch));
    std::thread::sleep(Duration::from_secs(3));
    for ((registry, proxy, most), before) in registries.iter().zip(before) {
        let watches = registry.count(Asked::Watch) - before;
        assert!(most.contains(&watches), "{watches} watches in 3 s; {}", proxy.story());
    }
}
