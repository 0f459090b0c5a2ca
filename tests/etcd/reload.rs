//! The settings file as a switch: edits under load, and files that cannot be used.

use nix::sys::signal::Signal;

use crate::fixture::on_each_generation;
use crate::support::cluster::Cluster;
use crate::support::generation::Generation;
use crate::support::load::{Load, Plan};
use crate::support::proxy::{Proxy, settings};
use crate::support::settings_file::Way;
use crate::support::{PATIENCE, exclusive, shared};

on_each_generation!(
    two_hundred_edits_under_load_fail_no_read,
    a_file_that_cannot_be_used_leaves_the_old_settings,
    the_mode_follows_the_file,
    sighup_and_the_reload_command_read_the_file_too,
    a_listener_that_is_added_and_removed_disturbs_no_other,
);

const WAYS: [Way; 3] = [Way::InPlace, Way::Rename, Way::SymlinkSwap];

/// Starts a cluster with the key `load/r`, and a daemon that takes its mode and peers from a file.
fn with_file(generation: Generation) -> (Cluster, Proxy) {
    let cluster = Cluster::start(generation, 3);
    cluster.etcdctl().run(&["put", "load/r", "v"]);
    let proxy = Proxy::before(&cluster).file(&settings("on", &cluster.initial_cluster())).start();
    (cluster, proxy)
}

fn two_hundred_edits_under_load_fail_no_read(generation: Generation) {
    let _machine = exclusive();
    let (cluster, proxy) = with_file(generation);
    let load = Load::start(Plan::new(&proxy.address, "load"));
    load.wait_for_reads(20);
    for edit in 0..200 {
        let mode = if edit % 2 == 0 { "readonly" } else { "on" };
        // Each edit also changes the peers: another one is left out.
        let peers: Vec<_> = (0..3).filter(|index| *index != edit % 4).collect();
        let text = settings(mode, &cluster.initial_cluster_of(&peers));
        proxy.edit(WAYS[edit % 3], &text);
    }
    load.wait_for_reads(20);
    let report = load.finish();
    println!("{} reads, slowest {:?}, {} edits", report.reads, report.slowest_read, 200);
    assert_eq!(report.failed_reads, [], "of {} reads", report.reads);
    // In readonly mode writes fail with the proxy's own error and no other.
    assert!(!report.written.is_empty() && !report.failed_writes.is_empty());
    for (_, why) in &report.failed_writes {
        assert!(why.starts_with("status 12"), "{why}");
    }
    assert_eq!(proxy.status()["reloads_applied"], 200);
}

fn a_file_that_cannot_be_used_leaves_the_old_settings(generation: Generation) {
    let _machine = shared();
    let (cluster, proxy) = with_file(generation);
    let etcdctl = proxy.etcdctl(generation);
    let good = settings("on", &cluster.initial_cluster());
    let broken = [
        ("proxy = \"on\"\ninitial-clutser = \"a=http://127.0.0.1:1\"\n", "etcd-proxy.toml:2:1"),
        ("proxy = \"on\"\n\nproxy-failure-wait = \"soon\"\n", "etcd-proxy.toml:3:22"),
        ("proxy = \"on\nbroken", "etcd-proxy.toml:1:"),
    ];
    for (number, (text, place)) in broken.into_iter().enumerate() {
        let mark = proxy.process.mark();
        proxy.edit(WAYS[number], text);
        let line = proxy.process.wait_for_line_after(mark, place, PATIENCE);
        assert!(line.is_some(), "the log does not name {place}; {}", proxy.story());
        etcdctl.run(&["put", "broken", &number.to_string()]);
        assert_eq!(etcdctl.run(&["get", "--print-value-only", "broken"]), format!("{number}\n"));
        assert!(
            proxy.notify.statuses().last().is_some_and(|status| status.contains("etcd-proxy.toml"))
        );
    }
    // An empty file would mean the default peers, and a deleted one no settings: neither is
    // applied.
    for way in [Some(""), None] {
        let mark = proxy.process.mark();
        match way {
            Some(text) => proxy.edit(Way::InPlace, text),
            None => proxy.file.as_ref().expect("a file").delete(),
        }
        let named = proxy.process.wait_for_line_after(mark, "etcd-proxy.toml", PATIENCE);
        assert!(named.is_some(), "the log does not name the file; {}", proxy.story());
        etcdctl.run(&["put", "broken", "still"]);
    }
    proxy.edit(Way::Rename, &settings("readonly", &cluster.initial_cluster()));
    assert!(etcdctl.try_run(&["put", "broken", "x"]).is_err());
    proxy.edit(Way::Rename, &good);
    etcdctl.run(&["put", "broken", "good again"]);
}

fn the_mode_follows_the_file(generation: Generation) {
    let _machine = shared();
    let (cluster, proxy) = with_file(generation);
    let etcdctl = proxy.etcdctl(generation);
    for way in WAYS {
        proxy.edit(way, &settings("readonly", &cluster.initial_cluster()));
        let refused = etcdctl.try_run(&["put", "mode", "x"]).expect_err("a write in readonly");
        assert!(refused.contains("Unimplemented"), "{refused}");
        assert_eq!(etcdctl.run(&["get", "--print-value-only", "load/r"]), "v\n");
        proxy.edit(way, &settings("on", &cluster.initial_cluster()));
        etcdctl.run(&["put", "mode", "x"]);
    }
}

fn sighup_and_the_reload_command_read_the_file_too(generation: Generation) {
    let _machine = shared();
    let (_cluster, proxy) = with_file(generation);
    let before = proxy.reloads();
    proxy.process.signal(Signal::SIGHUP);
    while proxy.reloads() == before {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(proxy.notify.heard().contains(&"RELOADING=1".to_owned()));
    let (text, fine) = proxy.command(&["reload"]);
    assert!(fine, "{text}");
    proxy.edit(Way::InPlace, "proxy = \"sideways\"\n");
    let (text, fine) = proxy.command(&["reload"]);
    assert!(!fine && text.contains("sideways"), "{text}");
    let (text, _) = proxy.command(&["status"]);
    assert!(text.contains("sideways") || text.contains("etcd-proxy.toml:1:9"), "{text}");
}

fn a_listener_that_is_added_and_removed_disturbs_no_other(generation: Generation) {
    let _machine = shared();
    let cluster = Cluster::start(generation, 1);
    cluster.etcdctl().run(&["put", "load/r", "v"]);
    let plan = Proxy::before(&cluster).bare();
    let (first, second) = (plan.address(), format!("127.0.0.1:{}", crate::support::port::free()));
    let text = |urls: &str| {
        let settings = settings("on", &cluster.initial_cluster());
        format!("{settings}listen-client-urls = \"{urls}\"\ndata-dir = \"data\"\n")
    };
    let one = text(&format!("http://{first}"));
    let both = text(&format!("http://{first},http://{second}"));
    let proxy = plan.file(&one).start();
    let load = Load::start(Plan::new(&first, "load"));
    for _ in 0..5 {
        load.wait_for_reads(5);
        proxy.edit(Way::Rename, &both);
        let etcdctl = crate::support::etcdctl::Etcdctl::v3(generation, &second);
        assert_eq!(etcdctl.run(&["get", "--print-value-only", "load/r"]), "v\n");
        proxy.edit(Way::Rename, &one);
        assert!(
            std::net::TcpStream::connect(&second).is_err(),
            "the removed listener still accepts"
        );
    }
    // The address is taken by another program: the reload is refused, and the listeners stay as
    // they are.
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("an address");
    proxy.edit(Way::Rename, &text(&format!("http://{second},http://{taken}")));
    assert_eq!(proxy.status()["reloads_refused"], 1);
    load.wait_for_reads(5);
    let report = load.finish();
    assert_eq!(report.failed_reads, []);
}
