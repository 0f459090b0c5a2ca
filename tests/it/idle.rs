//! A proxy that nobody uses costs the members nothing, and one that is used costs them little.

use std::time::Duration;

use crate::support::grpc::Channel;
use crate::support::members::Members;
use crate::support::settings_file::Way;
use crate::support::{PATIENCE, eventually, http1, run, shared};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// Many probes of the plan's 100 ms.
const WHILE: Duration = Duration::from_secs(2);

#[test]
fn a_proxy_that_nobody_uses_asks_its_members_nothing() {
    let _machine = shared();
    run(async {
        let members = Members::start(3).await;
        let _proxy = members.start_proved(members.probing_plan()).await;
        let begun = async || members.asked() >= 6;
        eventually("each is asked for a proof, and probed", PATIENCE, begun).await;
        tokio::time::sleep(WHILE).await;
        assert_eq!(members.asked(), 6);
    });
}

#[test]
fn a_member_that_answers_is_not_probed() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(2).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let mut watch = channel.call(WATCH).await.unwrap();
        let mut reply = members.call().await.begin();
        reply.message(b"created");
        assert_eq!(watch.next_bytes().await.unwrap().unwrap(), "created");
        let begun = async || members.asked() >= 4;
        eventually("each is asked for a proof, and probed", PATIENCE, begun).await;
        let start = members.asked();
        let until = tokio::time::Instant::now() + WHILE;
        while tokio::time::Instant::now() < until {
            let caller = channel.clone();
            let read = tokio::spawn(async move { caller.unary_bytes(RANGE, b"x").await });
            members.call().await.answer(b"fine");
            assert_eq!(read.await.unwrap().unwrap(), "fine");
        }
        // On a slow machine one by the clock may be due, of 10 s.
        assert!(members.asked() <= start + 2, "{} calls", members.asked() - start);
    });
}

#[test]
fn a_member_is_probed_while_a_request_waits_for_it() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        let channel = Channel::open(&proxy.address).await.unwrap();
        let read = tokio::spawn(async move { channel.unary_bytes(RANGE, b"x").await });
        let waits = members.call().await;
        let start = members.asked();
        eventually("it is probed at the interval", PATIENCE, async || members.asked() > start + 5)
            .await;
        waits.answer(b"late");
        assert_eq!(read.await.unwrap().unwrap(), "late");
        // One may be under way.
        tokio::time::sleep(WHILE / 4).await;
        let end = members.asked();
        tokio::time::sleep(WHILE).await;
        assert!(members.asked() <= end + 1, "{} calls", members.asked() - end);
    });
}

#[test]
fn status_says_how_old_the_evidence_is_and_of_what_kind() {
    let _machine = shared();
    run(async {
        let mut members = Members::start(1).await;
        let proxy = members.start_proved(members.probing_plan()).await;
        let endpoint = async || {
            let status = http1::get(&proxy.address, "/proxy/status").await.json();
            status["members"][0]["endpoints"][0].clone()
        };
        assert_eq!(endpoint().await["evidence"], "probed");
        let before = endpoint().await["evidence_ms"].as_u64().unwrap();
        assert!(before > 0);
        let channel = Channel::open(&proxy.address).await.unwrap();
        let read = tokio::spawn(async move { channel.unary_bytes(RANGE, b"x").await });
        members.call().await.answer(b"fine");
        read.await.unwrap().unwrap();
        eventually("the answer is seen", PATIENCE, async || {
            endpoint().await["evidence"] == "answered"
        })
        .await;
        assert!(endpoint().await["evidence_ms"].as_u64().unwrap() >= before);
    });
}

/// Returns how often the threads that wait for changes of files were woken.
fn watcher_wakes(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let wakes = tasks.filter_map(|task| {
        let path = task.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        name.starts_with("notify").then(|| line?.trim().parse::<u64>().ok()).flatten()
    });
    wakes.sum()
}

#[test]
fn a_file_that_somebody_opens_beside_the_settings_wakes_nobody() {
    let _machine = shared();
    run(async {
        let members = Members::start(1).await;
        let settings = format!("initial-cluster = \"{}\"\n", members.initial_cluster());
        let proxy = members.start_proved(members.plan().file(&settings)).await;
        let beside = proxy.settings().with_file_name("beside");
        std::fs::write(&beside, "x").unwrap();
        // Once an edit is noticed, the watches stand.
        proxy.write_settings(Way::InPlace, &format!("{settings}# edited\n"));
        eventually("the edit is noticed", PATIENCE, async || {
            let status = http1::get(&proxy.address, "/proxy/status").await.json();
            status["reloads_unchanged"].as_u64() > Some(0)
        })
        .await;
        let before = watcher_wakes(proxy.process.pid());
        assert!(before > 0, "there is such a thread");
        for _ in 0..500 {
            drop(std::fs::File::open(&beside).unwrap());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let woken = watcher_wakes(proxy.process.pid()) - before;
        assert!(woken < 100, "woken {woken} times by 500 opens");
    });
}
