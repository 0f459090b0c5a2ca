//! A member that accepts and does not answer: what happens to requests that wait for it, and to
//! later ones.

use std::time::{Duration, Instant};

use crate::support::grpc::Channel;
use crate::support::members::{Arrival, Members, start};
use crate::support::peer::{Peer, Reply};
use crate::support::proxy::Proxy;
use crate::support::rpc::{PUT, RANGE, WATCH};
use crate::support::settings_file::Way;
use crate::support::{PATIENCE, eventually, http1, run, shared, wait_until};

async fn until_usable(proxy: &Proxy, count: usize) {
    eventually("the members' health is known", PATIENCE, async || {
        let answer = http1::get(&proxy.address, "/v2/config/local/proxy").await.json();
        answer["endpoints"].as_array().is_some_and(|endpoints| endpoints.len() == count)
    })
    .await;
}

#[test]
fn a_read_that_waits_on_a_hung_member_moves_to_the_next() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        for (method, path) in [("GET", "/v2/keys/a"), ("POST", "/v3/kv/range")] {
            until_usable(&proxy, 2).await;
            let address = proxy.address.clone();
            let asked =
                tokio::spawn(
                    async move { http1::request(&address, method, path, "{}").await.unwrap() },
                );
            let mut waiting = members.exchange().await;
            waiting.body().await.unwrap();
            members.hang(waiting.member, true);
            let mut exchange = members.exchange().await;
            assert_ne!(exchange.member, waiting.member);
            assert_eq!(exchange.body().await.unwrap(), b"{}");
            exchange.answer(200, "fine").await;
            assert_eq!(asked.await.unwrap().text(), "fine");
            waiting.until_closed().await;
            members.hang(waiting.member, false);
        }
        until_usable(&proxy, 2).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let called = tokio::spawn(async move { channel.unary_bytes(RANGE, b"hello").await });
        let mut waiting = members.call().await;
        waiting.read_all().await.unwrap();
        members.hang(waiting.member, true);
        let mut call = members.call().await;
        assert_ne!(call.member, waiting.member);
        assert_eq!(call.read_all().await.unwrap().0, b"\0\0\0\0\x05hello");
        call.answer(b"fine");
        assert_eq!(called.await.unwrap().unwrap(), "fine");
    });
}

#[test]
fn while_the_first_peers_hang_systemd_is_told_whom_it_waits_for_and_gives_more_time() {
    let _machine = shared();
    let peer = Peer::start(Reply::Never);
    let proxy = Proxy::with_peers(&format!("a={}", peer.url)).spawn();
    let asking = format!("waiting for members: asking {}", peer.url.trim_start_matches("http://"));
    // One round of asking the peers takes 10 s; the message must not wait for its end.
    wait_until("it says whom it asks", || proxy.notify.statuses().contains(&asking));
    let heard = proxy.notify.heard();
    assert!(heard.iter().any(|line| line == "EXTEND_TIMEOUT_USEC=60000000"), "{heard:?}");
    assert!(proxy.started.elapsed() < Duration::from_secs(9), "{:?}", proxy.started.elapsed());
}

/// Writes in all three ways to a member that freezes, behind a daemon with these `arguments` for
/// its probes. All writes must be answered as lost and sent to no other member.
async fn writes_to_a_frozen_member(arguments: &'static [&'static str]) {
    let mut members = Members::start(2).await;
    let plan = Proxy::with_peers(&members.initial_cluster()).arguments(&["--workers", "1"]);
    let proxy = start(plan.arguments(arguments)).await;
    until_usable(&proxy, 2).await;
    let ask = async |method, path| {
        http1::request(&proxy.address, method, path, "x")
            .await
            .map(|answer| (answer, Instant::now()))
    };
    let call = async || {
        let channel = Channel::open(&proxy.address).await.unwrap();
        (channel.unary_bytes(PUT, b"x").await.unwrap_err(), Instant::now())
    };
    let freeze = async {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(members.next().await);
        }
        let member = match &held[0] {
            Arrival::Http1(exchange) => exchange.member,
            Arrival::Http2(call) => call.member,
            Arrival::Raw(..) => panic!("a bare connection"),
        };
        members.freeze(member);
        (held, Instant::now())
    };
    let (v2, json, grpc, (_held, begin)) =
        tokio::join!(ask("PUT", "/v2/keys/a"), ask("POST", "/v3/kv/put"), call(), freeze);
    let ((v2, v2_at), (json, json_at), (grpc, grpc_at)) = (v2.unwrap(), json.unwrap(), grpc);
    assert_eq!(v2.status, 502);
    assert_eq!(v2.json()["message"], "httpproxy: unable to get response from 2 endpoint(s)");
    assert_eq!((json.status, json.json()["code"].as_u64()), (502, Some(14)));
    assert_eq!(grpc.code(), Some(14), "{grpc}");
    assert!(!format!("{} {} {grpc}", v2.text(), json.text()).contains("available"));
    for at in [v2_at, json_at, grpc_at] {
        let took = at.duration_since(begin);
        assert!(took >= Duration::from_secs(4), "after {took:?} already, {arguments:?}");
    }
    assert!(members.is_quiet(), "a write was sent again");
}

#[test]
fn a_write_in_flight_to_a_hung_member_is_answered_as_lost_and_never_sent_again() {
    let _machine = shared();
    run(async {
        tokio::join!(
            writes_to_a_frozen_member(&["--health-interval", "100ms", "--health-timeout", "400ms"]),
            writes_to_a_frozen_member(&["--health-interval", "0"]),
            writes_to_a_frozen_member(&["--health-interval", "60s"]),
        )
    });
}

/// Longer than a request waits for a hung member, even on a busy machine.
const LONG: Duration = Duration::from_secs(8);

#[test]
fn a_write_waits_on_while_its_member_is_alive_without_a_quorum() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = start(members.probing_plan()).await;
        until_usable(&proxy, 1).await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("PUT", "/v2/keys/a", &[], "x").await.unwrap();
        let mut put = members.exchange().await;
        members.lose_quorum(0, true);
        until_usable(&proxy, 0).await;
        tokio::time::sleep(LONG).await;
        put.body().await.unwrap();
        put.answer(200, "late").await;
        let head = client.head().await.unwrap();
        assert_eq!(client.body(&head).await.unwrap(), b"late");
    });
}

#[test]
fn a_write_waits_on_while_its_own_connection_answers_pings_whatever_probes_say() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = start(members.probing_plan()).await;
        until_usable(&proxy, 1).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let called = tokio::spawn(async move { channel.unary_bytes(PUT, b"x").await });
        let mut call = members.call().await;
        members.hang(0, true);
        until_usable(&proxy, 0).await;
        tokio::time::sleep(LONG).await;
        call.read_all().await.unwrap();
        call.answer(b"late");
        assert_eq!(called.await.unwrap().unwrap(), "late");
    });
}

#[test]
fn streams_leave_a_hung_member_only_when_there_is_one_with_a_quorum() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        until_usable(&proxy, 2).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let call = members.call().await;
        let hung = call.member;
        let _reply = call.begin();
        watch.head().await.unwrap();
        let mut early = channel.call(WATCH).await.unwrap();
        let _waiting = members.call().await;
        members.lose_quorum(1 - hung, true);
        members.hang(hung, true);
        // The streams are idle, so this takes some seconds; then the other one is probed at once.
        until_usable(&proxy, 0).await;
        let begin = Instant::now();
        // The watch's member is known to hang, but the other one has no leader: the watch is kept
        // for now.
        let ended = tokio::time::timeout(Duration::from_millis(500), watch.next_bytes()).await;
        assert!(ended.is_err() || begin.elapsed() > Duration::from_secs(4), "{ended:?}");
        members.lose_quorum(1 - hung, false);
        assert_eq!(watch.next_bytes().await.unwrap_err().code(), Some(14));
        assert_eq!(early.next_bytes().await.unwrap_err().code(), Some(14));
        assert!(members.is_quiet());
    });
}

#[test]
fn a_stream_on_a_hung_member_ends_with_unavailable() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        until_usable(&proxy, 2).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut early = channel.call(WATCH).await.unwrap();
        let mut waiting = members.call().await;
        let mut watch = channel.call(WATCH).await.unwrap();
        let mut reply = members.call().await.begin();
        reply.message(b"created");
        assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "created");
        let mut v2 = http1::Connection::open(&proxy.address).await.unwrap();
        v2.send_request("GET", "/v2/keys/a?wait=true&recursive=true", &[], "").await.unwrap();
        let mut v2_exchange = members.exchange().await;
        v2_exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        v2.head().await.unwrap();
        let mut json = http1::Connection::open(&proxy.address).await.unwrap();
        json.send_request("POST", "/v3/watch", &[], "{}").await.unwrap();
        let mut exchange = members.exchange().await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.send(format!("{head}5\r\nevent\r\n")).await.unwrap();
        json.head().await.unwrap();
        assert_eq!(json.chunk().await.unwrap().unwrap(), b"event");
        members.hang(waiting.member, true);
        assert_eq!(early.next_bytes().await.unwrap_err().code(), Some(14));
        assert_eq!(watch.next_bytes().await.unwrap_err().code(), Some(14));
        assert!(json.chunk().await.is_err(), "a clean end");
        assert!(v2.chunk().await.is_err(), "a clean end");
        v2_exchange.until_closed().await;
        waiting.until_reset().await;
        reply.until_reset().await;
        exchange.until_closed().await;
        assert_eq!(channel.ended(), None);
        assert!(members.is_quiet());
    });
}

#[test]
fn when_all_members_hang_all_are_tried_and_the_first_that_recovers_gets_what_waits() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let caller = channel.clone();
        let called = tokio::spawn(async move { caller.unary_bytes(PUT, b"x").await });
        members.call().await.answer(b"fine");
        called.await.unwrap().unwrap();
        (0..2).for_each(|member| members.hang(member, true));
        let caller = channel.clone();
        let read = tokio::spawn(async move { caller.unary_bytes(RANGE, b"").await });
        let waiting = members.call().await;
        until_usable(&proxy, 0).await;
        drop(waiting);
        read.await.unwrap().unwrap_err();
        // Without a healthy member, an unhealthy one with an open connection is asked.
        let caller = channel.clone();
        let called = tokio::spawn(async move { caller.unary_bytes(PUT, b"x").await });
        members.call().await.answer(b"fine");
        assert_eq!(called.await.unwrap().unwrap(), "fine");

        let read = tokio::spawn(async move { channel.unary_bytes(RANGE, b"").await });
        let waiting = members.call().await;
        members.hang(1 - waiting.member, false);
        let call = members.call().await;
        assert_ne!(call.member, waiting.member);
        call.answer(b"recovered");
        assert_eq!(read.await.unwrap().unwrap(), "recovered");
    });
}

#[test]
fn a_member_that_leaves_the_list_ends_its_streams_and_hands_over_its_reads() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let plan = members.plan().arguments(&["--proxy-refresh-interval", "100"]);
        let proxy = start(plan).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let reply = members.call().await;
        let leaver = reply.member;
        let mut reply = reply.begin();
        watch.head().await.unwrap();
        let reader = channel.clone();
        let read = tokio::spawn(async move { reader.unary_bytes(RANGE, b"x").await });
        let _waiting = members.call().await;
        members.list_only(&[1 - leaver]);
        let call = members.call().await;
        assert_eq!(call.member, 1 - leaver);
        call.answer(b"fine");
        assert_eq!(read.await.unwrap().unwrap(), "fine");
        assert_eq!(watch.next_bytes().await.unwrap_err().code(), Some(14));
        reply.until_reset().await;
    });
}

#[test]
fn a_read_moves_on_from_a_hung_member_also_while_a_reload_takes_its_time() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let settings = |peers: &str| format!("initial-cluster = \"{peers}\"\n");
        let plan = members.probing_plan().file(&settings(&members.initial_cluster()));
        let proxy = start(plan).await;
        until_usable(&proxy, 2).await;
        let mut client = http1::Connection::open(&proxy.address).await.unwrap();
        client.send_request("GET", "/v2/keys/a", &[], "").await.unwrap();
        let waiting = members.exchange().await;
        // A peer that accepts and never answers. The new settings wait three seconds for it.
        let silent = Peer::start(Reply::Never);
        proxy.write_settings(Way::Rename, &settings(&format!("silent={}", silent.url)));
        eventually("the new peer is asked", PATIENCE, async || silent.asked() > 0).await;
        members.hang(waiting.member, true);
        let exchange = members.exchange().await;
        assert_ne!(exchange.member, waiting.member);
        let reloads = std::thread::scope(|scope| scope.spawn(|| proxy.reloads()).join());
        assert_eq!(reloads.unwrap(), 0, "the reload was done too early");
        exchange.answer(200, "fine").await;
        assert_eq!(client.head().await.unwrap().status, 200);
    });
}

#[test]
fn a_stream_on_which_neither_side_says_anything_is_sent_once() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.start_proved(members.plan()).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut first = channel.call(WATCH).await.unwrap();
        let arrived = members.call().await;
        let _second = channel.call(WATCH).await.unwrap();
        let _waiting = members.call().await;
        // Longer than a request waits that cannot be sent.
        let ended = tokio::time::timeout(Duration::from_secs(4), first.next_bytes()).await;
        assert!(ended.is_err(), "{ended:?}");
        assert!(members.is_quiet());
        arrived.begin().message(b"created");
    });
}

#[test]
fn a_stream_leaves_a_member_that_has_lost_its_quorum_when_another_has_one() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let call = members.call().await;
        let member = call.member;
        let mut reply = call.begin();
        reply.message(b"created");
        assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "created");
        let begin = Instant::now();
        members.lose_quorum(member, true);
        assert_eq!(watch.next_bytes().await.unwrap_err().code(), Some(14));
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
        assert!(members.is_quiet());
    });
}
