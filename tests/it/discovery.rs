//! The daemon with v2 registries that misbehave: its STATUS, and how often it asks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::scripted_registry::{Registry, entries, page, size};
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::{Plan, Proxy};
use crate::support::{http1, port, run, shared, wait_until};

fn proxy(url: &str) -> Plan {
    Proxy::with_peers("").file(&format!("discovery = \"{url}\"\n"))
}

#[track_caller]
fn wait_for_status(proxy: &Proxy, words: &str) {
    let said = || proxy.notify.statuses().last().is_some_and(|status| status.contains(words));
    wait_until(words, said);
}

#[test]
fn a_registry_in_trouble_is_asked_at_growing_pauses() {
    let _machine = shared();
    let registry = Registry::start(|_| page("503 Service Unavailable", ""));
    let proxy = proxy(&registry.url).spawn();
    wait_for_status(&proxy, "waiting for members: ");
    wait_for_status(&proxy, "it answered status 503; next try after 2 s");
    wait_for_status(&proxy, "it answered status 503; next try after 4 s");
    wait_for_status(&proxy, "it answered status 503; next try after 8 s");
    assert_eq!(registry.count("/t"), 3);
    assert_eq!(run(http1::get(&proxy.address, "/version")).status, 503);
}

#[test]
fn a_registry_that_hangs_holds_up_nothing_else() {
    let _machine = shared();
    let registry = Registry::start(|_| None);
    let proxy = proxy(&registry.url).spawn();
    run(proxy.wait_until_open());
    let before = Instant::now();
    wait_until("a question", || registry.count("/t") == 1);
    assert_eq!(run(http1::get(&proxy.address, "/version")).status, 503);
    let status = proxy.status();
    assert_eq!(
        (status["ready"].as_bool(), status["peers"].as_array().map(Vec::len)),
        (Some(false), Some(0))
    );
    assert_eq!(status["source"]["name"], format!("discovery at {}", registry.url));
    let (elapsed, asked) = (before.elapsed(), registry.count("/t"));
    assert!(elapsed < Duration::from_secs(3) && asked == 1, "{asked} questions in {elapsed:?}");
    wait_for_status(&proxy, "no answer within 5s; next try after 2 s");
}

#[test]
fn what_etcd_would_end_at_is_asked_once_and_told() {
    let _machine = shared();
    let junk =
        |target: &str| if target.contains("_config") { size("1") } else { entries(&["junk"]) };
    let twice = |target: &str| {
        let same = ["a=http://127.0.0.1:1", "a=http://127.0.0.1:2"];
        if target.contains("_config") { size("2") } else { entries(&same) }
    };
    let registries = [
        (Registry::start(junk), "the entry \"junk\" cannot be used: not NAME=URL"),
        (Registry::start(twice), "the 2 members have only 1 name between them"),
        (
            Registry::start(|_| page("200 OK", "<html>")),
            "is not that of an etcd registry (status 200)",
        ),
        (Registry::start(|_| size("0")), "the cluster's size there is \"0\""),
        (
            Registry::start(|_| {
                page("404 Not Found", r#"{"errorCode":100,"message":"Key not found"}"#)
            }),
            "no size is set there, so the token is unknown",
        ),
    ];
    let proxies: Vec<_> =
        registries.iter().map(|(registry, _)| proxy(&registry.url).spawn()).collect();
    for (proxy, (_, words)) in proxies.iter().zip(&registries) {
        wait_for_status(proxy, words);
        assert!(
            proxy
                .process
                .wait_for_line("discovery cannot go on: ", Duration::from_secs(5))
                .is_some()
        );
    }
    std::thread::sleep(Duration::from_secs(3));
    for (registry, words) in &registries {
        assert_eq!(registry.count("/t/_config/size"), 1, "{words}");
    }
}

#[test]
fn a_registry_that_ends_every_wait_at_once_is_not_asked_in_a_loop() {
    let _machine = shared();
    let registry = Registry::start(|target| match target {
        target if target.contains("_config") => size("2"),
        target if target.contains("wait=true") => page("200 OK", ""),
        _ => entries(&["a=http://127.0.0.1:1"]),
    });
    let proxy = proxy(&registry.url).spawn();
    wait_for_status(&proxy, "1 of 2 members registered at ");
    let before = registry.count("/t?recursive=true&wait=true&waitIndex=8");
    std::thread::sleep(Duration::from_secs(3));
    let waits = registry.count("/t?recursive=true&wait=true&waitIndex=8") - before;
    assert!((2..=4).contains(&waits), "{waits} waits in 3 s");
}

#[test]
fn lost_history_and_a_cut_wait_are_survived() {
    let _machine = shared();
    let peer = Peer::start(Reply::Never);
    let list = format!(
        r#"[{{"id":1,"name":"a","peerURLs":["{}"],"clientURLs":["http://127.0.0.1:9"]}}]"#,
        peer.url
    );
    peer.set(Reply::members("a1", &list));
    let entry = format!("a={}", peer.url);
    let waits = Mutex::new(0);
    let registry = Registry::start(move |target| {
        let mut waits = waits.lock().expect("waits");
        if target.contains("_config") {
            return size("2");
        }
        if !target.contains("wait=true") {
            let second = format!("b={}", entry.trim_start_matches("a="));
            let all = [entry.as_str(), &second];
            return entries(if *waits < 3 { &all[..1] } else { &all });
        }
        *waits += 1;
        match *waits {
            1 => page(
                "400 Bad Request",
                r#"{"errorCode":401,"message":"The event in requested index is outdated and cleared"}"#,
            ),
            // An empty answer: the connection is closed without a byte.
            2 => Some(String::new()),
            _ => page("200 OK", r#"{"action":"set","node":{"value":"b"}}"#),
        }
    });
    let proxy = proxy(&registry.url).spawn();
    proxy.wait_until_ready();
    assert_eq!(registry.count("/t?recursive=true&wait=true&waitIndex=8"), 3);
}

#[test]
fn a_complete_registry_whose_peers_are_silent_is_asked_at_growing_pauses_and_told_once() {
    let _machine = shared();
    let (one, two) = (format!("a=http://127.0.0.1:{}", port::free()), Peer::start(Reply::Never));
    let list = format!(
        r#"[{{"id":1,"name":"a","peerURLs":["{}"],"clientURLs":["http://127.0.0.1:9"]}}]"#,
        two.url
    );
    two.set(Reply::members("a1", &list));
    let entry = Arc::new(Mutex::new(one));
    let served = entry.clone();
    let registry = Registry::start(move |target| {
        if target.contains("_config") {
            return size("1");
        }
        entries(&[served.lock().expect("an entry").as_str()])
    });
    let proxy = proxy(&registry.url).spawn();
    wait_for_status(&proxy, "connection refused");
    std::thread::sleep(Duration::from_secs(6));
    // Asked at the start and after 1, 2 and 4 s.
    let looks = registry.count("/t/_config");
    assert!((3..=4).contains(&looks), "{looks} looks in 6 s");
    let told =
        |words: &str| proxy.process.lines().iter().filter(|line| line.contains(words)).count();
    assert_eq!(told("the cluster is complete"), 1, "{}", proxy.story());
    *entry.lock().expect("an entry") = format!("a={}", two.url);
    proxy.wait_until_ready();
    assert_eq!(told("the cluster is complete"), 2, "{}", proxy.story());
}
