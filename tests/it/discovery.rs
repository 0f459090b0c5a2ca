//! The daemon before registries that do not do what they should: what STATUS says, and how often it asks.

use crate::support::peer::{Peer, Reply};
use crate::support::proxy::{Plan, Proxy};
use crate::support::{beside_others, http1, port, run, wait_until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a registry answers to a target; `None` is nothing, ever.
type Script = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A scripted registry; remembers when it was asked for what.
struct Registry {
    url: String,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Registry {
    fn start(script: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port::free())).expect("a port");
        let url = format!("http://{}/t", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let (script, seen): (Script, _) = (Arc::new(script), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, seen) = (script.clone(), seen.clone());
                std::thread::spawn(move || serve(stream, &script, &seen));
            }
        });
        Self { url, asked }
    }

    /// How often targets that begin like this were asked for.
    fn count(&self, target: &str) -> usize {
        let asked = self.asked.lock().expect("asked");
        asked.iter().filter(|(_, asked)| asked.starts_with(target)).count()
    }
}

fn serve(mut stream: TcpStream, script: &Script, asked: &Mutex<Vec<(Instant, String)>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().expect("asked").push((Instant::now(), target.clone()));
    match script(&target) {
        Some(answer) => drop(stream.write_all(answer.as_bytes())),
        None => std::thread::sleep(Duration::from_secs(120)),
    }
}

fn page(status: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\nX-Etcd-Index: 7\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

fn size(size: &str) -> Option<String> {
    page("200 OK", &format!(r#"{{"node":{{"value":"{size}"}}}}"#))
}

fn entries(entries: &[&str]) -> Option<String> {
    let nodes: Vec<String> = entries
        .iter()
        .enumerate()
        .map(|(at, value)| {
            format!(r#"{{"key":"/r/t/{at}","value":"{value}","createdIndex":{at}}}"#)
        })
        .collect();
    page("200 OK", &format!(r#"{{"node":{{"key":"/r/t","nodes":[{}]}}}}"#, nodes.join(",")))
}

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
    let _floor = beside_others();
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
    let _floor = beside_others();
    let registry = Registry::start(|_| None);
    let proxy = proxy(&registry.url).spawn();
    run(proxy.wait_until_open());
    let before = Instant::now();
    assert_eq!(run(http1::get(&proxy.address, "/version")).status, 503);
    assert!(
        proxy.command(&["status", "-w", "json"]).0.contains("waiting")
            || before.elapsed() < Duration::from_secs(2)
    );
    wait_for_status(&proxy, "no answer within 5s; next try after 2 s");
}

#[test]
fn what_etcd_would_end_at_is_asked_once_and_told() {
    let _floor = beside_others();
    let junk =
        |target: &str| if target.contains("_config") { size("1") } else { entries(&["junk"]) };
    let twice = |target: &str| {
        let same = ["a=http://127.0.0.1:1", "a=http://127.0.0.1:2"];
        if target.contains("_config") { size("2") } else { entries(&same) }
    };
    let registries = [
        (Registry::start(junk), "the entry \"junk\" is of no use: not NAME=URL"),
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
    let _floor = beside_others();
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
    let _floor = beside_others();
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
            // The connection ends without a word.
            2 => Some(String::new()),
            _ => page("200 OK", r#"{"action":"set","node":{"value":"b"}}"#),
        }
    });
    let proxy = proxy(&registry.url).spawn();
    proxy.wait_until_ready();
    assert_eq!(registry.count("/t?recursive=true&wait=true&waitIndex=8"), 3);
}
