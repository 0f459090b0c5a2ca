//! Starts: without a cluster, with settings that cannot be used, on ports that are taken or low.

use crate::machine::{PEERS, turn};
use std::time::Duration;

#[test]
fn without_a_cluster_it_says_what_it_waits_for_and_becomes_active_when_the_cluster_comes() {
    let Some(machine) = turn() else { return };
    // Shorter than the usual 90 s, and longer than it takes to send the first extension.
    machine
        .write("/etc/systemd/system.conf.d/short.conf", "[Manager]\nDefaultTimeoutStartSec=3s\n");
    machine.ok("systemctl daemon-reexec");
    machine.write("/etc/etcd-proxy.toml", &format!("initial-cluster = \"{PEERS}\"\n"));
    machine.ok("dpkg --force-confold --install /packages/etcd-proxy_[0-8]*.deb");
    assert_eq!(machine.property("TimeoutStartUSec"), "3s");
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(machine.state(), "activating");
    let status = machine.run("systemctl status --no-pager --full etcd-proxy").out;
    assert!(status.contains("waiting for members: "), "{status}");
    assert!(status.contains("127.0.0.1:12380"), "{status}");
    machine.fails("curl --silent --fail http://127.0.0.1:2379/version");

    machine.start_members();
    machine.wait_until_active();
    let members = machine.ok("ETCDCTL_API=3 etcdctl member list");
    assert_eq!(members.lines().count(), 3, "{members}");
}

#[test]
fn the_journal_has_our_fields() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("");
    let json = machine.ok("journalctl --no-pager -u etcd-proxy.service -o json");
    let entries: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ready = entries.iter().rfind(|entry| entry["MESSAGE"] == "ready");
    let ready = ready.unwrap_or_else(|| panic!("no `ready` in {json}"));
    assert_eq!(ready["SYSLOG_IDENTIFIER"], "etcd-proxy");
    assert_eq!(ready["_SYSTEMD_UNIT"], "etcd-proxy.service");
    assert_eq!(ready["PRIORITY"], "6");
    assert_eq!(ready["ETCD_PROXY_MEMBERS"], "3", "{ready}");
}

#[test]
fn settings_that_cannot_be_used_end_the_start_at_once_and_for_good() {
    let Some(machine) = turn() else { return };
    machine.install();
    machine.ok("systemctl stop etcd-proxy");
    machine
        .write("/etc/etcd-proxy.toml", "proxy = \"on\"\nlisten-client-urls = \"http://0.0.0.0\n");
    machine.fails("systemctl start etcd-proxy");
    assert_eq!(machine.state(), "failed");
    assert_eq!(machine.property("ExecMainStatus"), "78");
    let status = machine.run("systemctl status --no-pager --full etcd-proxy").out;
    assert!(status.contains("status=78/CONFIG"), "{status}");
    assert!(status.contains("/etc/etcd-proxy.toml:2:"), "{status}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(machine.property("NRestarts"), "0");
}

#[test]
fn a_port_that_is_taken_is_named_and_the_start_given_up_after_a_while() {
    let Some(machine) = turn() else { return };
    // As on a host with a member of its own.
    machine.ok("systemctl start etcd.service");
    machine.install();
    machine.wait_for("it has given up", || machine.state() == "failed");
    let journal = machine.journal();
    assert!(journal.contains("cannot listen on http://127.0.0.1:2379: in use by"), "{journal}");
    assert!(journal.contains("Start request repeated too quickly"), "{journal}");

    machine.ok(
        "mkdir -p /etc/systemd/system/etcd-proxy.service.d; systemctl reset-failed etcd-proxy; \
         cp /usr/share/doc/etcd-proxy/examples/systemd/beside-etcd.conf /etc/systemd/system/etcd-proxy.service.d/; \
         systemctl daemon-reload; systemctl start etcd-proxy",
    );
    assert_eq!(machine.ok("curl --silent http://127.0.0.1:23790/health"), r#"{"health":"true"}"#);
}

#[test]
fn the_example_for_a_low_port_works() {
    let Some(machine) = turn() else { return };
    machine.install_before_a_cluster("listen-client-urls = \"http://127.0.0.1:2379\"\n");
    machine.write("/etc/default/etcd-proxy", "ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:279\n");
    machine.ok(
        "mkdir -p /etc/systemd/system/etcd-proxy.service.d; \
         cp /usr/share/doc/etcd-proxy/examples/systemd/low-port.conf /etc/systemd/system/etcd-proxy.service.d/; \
         systemctl daemon-reload; systemctl restart etcd-proxy",
    );
    assert_eq!(machine.ok("curl --silent http://127.0.0.1:279/health"), r#"{"health":"true"}"#);
}
